delete from :"table"
where tenant_id = $1 and ctid >= $2::text::tid and ctid < $3::text::tid

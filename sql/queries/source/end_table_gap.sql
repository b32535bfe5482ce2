-- The table is published again.
update gaps set to_lsn = $3
where slot = $1 and table_name = $2 and to_lsn is null

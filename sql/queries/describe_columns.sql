select
    attrelid,
    attname::text as name,
    atttypid as type_oid,
    format_type(atttypid, atttypmod) as type_name,
    -- 's' stored, 'v' virtual (18 and later), empty for a plain column
    attgenerated::text as generated
from pg_attribute
where attrelid = any ($1::oid[]) and attnum > 0 and not attisdropped
order by attrelid, attnum

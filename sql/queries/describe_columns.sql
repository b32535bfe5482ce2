select
    attrelid,
    attname::text as name,
    -- Of a domain the type beneath it, as the stream describes it.
    (
        with recursive base as (
            select oid, typtype, typbasetype from pg_type where oid = atttypid
            union all
            select beneath.oid, beneath.typtype, beneath.typbasetype
            from base join pg_type as beneath on base.typtype = 'd' and beneath.oid = base.typbasetype
        )
        select oid from base where typtype <> 'd'
    ) as type_oid,
    format_type(atttypid, atttypmod) as type_name,
    -- 's' stored, 'v' virtual (18 and later), empty for a plain column
    attgenerated::text as generated
from pg_attribute
where attrelid = any ($1::oid[]) and attnum > 0 and not attisdropped
order by attrelid, attnum

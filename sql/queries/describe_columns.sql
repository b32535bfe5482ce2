select
    attrelid,
    attname::text as name,
    base.oid as type_oid,
    format_type(atttypid, atttypmod) as type_name,
    exists (
        select
        from pg_opclass as class
        join pg_namespace as namespace on namespace.oid = class.opcnamespace
        where class.opcintype = base.oid and class.opcdefault and namespace.nspname <> 'pg_catalog'
    ) as own_operators,
    -- 's' stored, 'v' virtual (18 and later), empty for a plain column
    attgenerated::text as generated
from pg_attribute
-- Of a domain the type beneath it, as the stream describes it.
cross join lateral (
    with recursive beneath as (
        select oid, typtype, typbasetype from pg_type where oid = atttypid
        union all
        select next.oid, next.typtype, next.typbasetype
        from beneath join pg_type as next on beneath.typtype = 'd' and next.oid = beneath.typbasetype
    )
    select oid from beneath where typtype <> 'd'
) as base
where attrelid = any ($1::oid[]) and attnum > 0 and not attisdropped
order by attrelid, attnum

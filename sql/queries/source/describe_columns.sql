select
    attrelid,
    attname::text as name,
    atttypid as declared_oid,
    base.oid as base_oid,
    format_type(atttypid, atttypmod) as type_name,
    exists (
        select
        from pg_opclass as class
        join pg_namespace as namespace on namespace.oid = class.opcnamespace
        where class.opcintype = base.oid and class.opcdefault and namespace.nspname <> 'pg_catalog'
    ) as own_operators,
    base.typname::text as base_name,
    -- The element's type, where it is an array.
    coalesce(element.oid, 0) as element_oid,
    coalesce(element.typname::text, '') as element_name,
    array(
        select enumlabel::text
        from pg_enum
        where enumtypid = coalesce(element.oid, base.oid)
        order by enumsortorder
    ) as labels,
    -- Other than the database's own.
    nullif(collation_of.collname::text, 'default') as collation,
    coalesce(collation_of.collisdeterministic, true) as deterministic,
    -- 's' stored, 'v' virtual (18 and later), empty for a plain column
    attgenerated::text as generated
from pg_attribute
-- Of a domain the type beneath it.
cross join lateral (
    with recursive beneath as (
        select oid, typtype, typbasetype from pg_type where oid = atttypid
        union all
        select next.oid, next.typtype, next.typbasetype
        from beneath join pg_type as next on beneath.typtype = 'd' and next.oid = beneath.typbasetype
    )
    select beneath.oid, pg_type.typname, pg_type.typelem, pg_type.typcategory
    from beneath
    join pg_type using (oid)
    where beneath.typtype <> 'd'
) as base
left join pg_type as element on base.typcategory = 'A' and element.oid = base.typelem
left join pg_collation as collation_of on collation_of.oid = attcollation
where attrelid = any ($1::oid[]) and attnum > 0 and not attisdropped
order by attrelid, attnum

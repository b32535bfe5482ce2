-- How the server orders the columns of a table's key: by the default btree operator class of
-- each type, whose operators may stand in any schema. No class of its own: an array, an enum
-- or a text that is stored as another, whose operators are all in pg_catalog.
select
    wanted.name,
    type.typtype = 'd' as is_domain,
    format_type(base.oid, -1) as type_name,
    -- <, <=, =, >=, >
    array(
        select format('operator(%I.%s)', namespace.nspname, operator.oprname)
        from pg_opclass as class
        join pg_am as method on method.oid = class.opcmethod and method.amname = 'btree'
        join pg_amop as member
            on member.amopfamily = class.opcfamily
            and member.amoplefttype = base.oid and member.amoprighttype = base.oid
            and member.amoppurpose = 's'
        join pg_operator as operator on operator.oid = member.amopopr
        join pg_namespace as namespace on namespace.oid = operator.oprnamespace
        where class.opcintype = base.oid and class.opcdefault
        order by member.amopstrategy
    ) as operators
from unnest($3::text[]) with ordinality as wanted (name, place)
join pg_namespace as namespace on namespace.nspname = $1::text
join pg_class as class on class.relnamespace = namespace.oid and class.relname = $2::text
join pg_attribute as attribute
    on attribute.attrelid = class.oid and attribute.attname = wanted.name and not attribute.attisdropped
join pg_type as type on type.oid = attribute.atttypid
-- Of a domain the type beneath it.
cross join lateral (
    with recursive beneath as (
        select type.oid, type.typtype, type.typbasetype
        union all
        select next.oid, next.typtype, next.typbasetype
        from beneath join pg_type as next on beneath.typtype = 'd' and next.oid = beneath.typbasetype
    )
    select beneath.oid from beneath where beneath.typtype <> 'd'
) as base
order by wanted.place

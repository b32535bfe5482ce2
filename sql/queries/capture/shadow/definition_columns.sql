-- What the text of the columns' values depends on, besides changes of rows: each column's
-- type, with all types that it is made of. No function is called that locks a table.
with recursive shown as (
    select attrelid, attname, attnum, atttypid, xmin
    from pg_attribute
    where attrelid = any ($1::oid[]) and attnum > 0 and not attisdropped
), parts as (
    -- itself: the same text, as a domain's is that of the type beneath it.
    select distinct atttypid as whole, atttypid as part, true as itself from shown
    union
    select parts.whole, beneath.part, parts.itself and beneath.itself
    from parts
    join pg_type as part_type on part_type.oid = parts.part
    cross join lateral (
        select part_type.typbasetype as part, true as itself where part_type.typtype = 'd'
        union all
        select part_type.typelem, false where part_type.typelem <> 0
        union all
        select atttypid, false
        from pg_attribute
        where part_type.typrelid <> 0 and attrelid = part_type.typrelid
            and attnum > 0 and not attisdropped
        union all
        select rngsubtype, false from pg_range where rngtypid = part_type.oid
        union all
        select rngtypid, false from pg_range where rngmultitypid = part_type.oid
    ) as beneath
), attributes as (
    -- Of composite types, and of the row types of tables.
    select distinct
        parts.whole, part_type.oid, attribute.attnum, attribute.atttypid, attribute.xmin,
        attribute.attisdropped
    from parts
    join pg_type as part_type on part_type.oid = parts.part and part_type.typrelid <> 0
    join pg_attribute as attribute on attribute.attrelid = part_type.typrelid and attribute.attnum > 0
), labels as (
    select distinct
        parts.whole, pg_enum.oid, pg_enum.enumlabel::text as label, pg_enum.xmin
    from parts
    join pg_enum on pg_enum.enumtypid = parts.part
)
select
    shown.attrelid,
    shown.attname::text as name,
    shown.atttypid as type_oid,
    shown.attnum,
    shown.xmin::text::bigint as version,
    array(
        select format('%s %s %s', attributes.oid, attributes.attnum, attributes.atttypid)
        from attributes
        where attributes.whole = shown.atttypid and not attributes.attisdropped
        order by attributes.oid, attributes.attnum
    ) as attributes,
    exists (
        select
        from parts
        join pg_type on pg_type.oid = parts.part
        where parts.whole = shown.atttypid and parts.itself and pg_type.typtype = 'e'
    ) as is_enum,
    array(select labels.oid from labels where labels.whole = shown.atttypid order by labels.oid)
        as label_oids,
    array(select labels.label from labels where labels.whole = shown.atttypid order by labels.oid)
        as labels,
    array(
        select labels.xmin::text::bigint
        from labels
        where labels.whole = shown.atttypid
        order by labels.oid
    ) as label_versions,
    -- Whether it may have become so after the slot's position: every transaction below the
    -- slot's catalog_xmin ended before it. The age of an id falls as the id rises.
    coalesce(
        least(
            age(shown.xmin),
            (select min(age(labels.xmin)) from labels where labels.whole = shown.atttypid),
            (select min(age(attributes.xmin)) from attributes where attributes.whole = shown.atttypid)
        ) <= (select age(catalog_xmin) from pg_replication_slots where slot_name = $2),
        true
    ) as is_recent
from shown

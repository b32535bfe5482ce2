-- The leaf partitions of partitioned tables: rows live in them, and so each
-- leaf's own replica identity counts.
select
    root.oid as root,
    namespace.nspname::text as schema,
    class.relname::text as name,
    class.relkind::text as kind,
    class.relpersistence::text as persistence,
    class.relreplident::text as replica_identity,
    exists (
        select from pg_index
        where indrelid = class.oid and indisprimary and indisvalid and indimmediate
    ) as primary_index,
    exists (select from pg_index where indrelid = class.oid and indisreplident and indisvalid) as identity_index,
    array(
        select attribute.attname::text
        from pg_index
        cross join unnest(pg_index.indkey) with ordinality as key (attnum, place)
        join pg_attribute as attribute
            on attribute.attrelid = pg_index.indrelid and attribute.attnum = key.attnum
        where pg_index.indrelid = class.oid and key.place <= pg_index.indnkeyatts
            and case class.relreplident when 'd' then indisprimary when 'i' then indisreplident else false end
    ) as identity_columns
from unnest($1::oid[]) as root (oid)
cross join pg_partition_tree(root.oid) as tree
join pg_class as class on class.oid = tree.relid
join pg_namespace as namespace on namespace.oid = class.relnamespace
where tree.isleaf and class.relkind <> 'p'
order by root.oid, namespace.nspname, class.relname

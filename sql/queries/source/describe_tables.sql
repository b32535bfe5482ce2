-- The named tables, in the order asked for. A deferrable key does not serve as a replica identity.
select
    namespace.nspname::text as schema,
    class.relname::text as name,
    class.oid,
    -- Below FirstNormalObjectId stand the catalog and information_schema.
    case when class.oid < 16384 then 's' else class.relkind::text end as kind,
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
        order by key.place
    ) as identity_columns,
    array(
        select attribute.attname::text
        from pg_index
        cross join unnest(pg_index.indkey) with ordinality as key (attnum, place)
        join pg_attribute as attribute
            on attribute.attrelid = pg_index.indrelid and attribute.attnum = key.attnum
        -- Past indnkeyatts stand the columns of INCLUDE.
        where pg_index.indrelid = class.oid and pg_index.indisprimary and key.place <= pg_index.indnkeyatts
        order by key.place
    ) as primary_key,
    class.relkind = 'r' and exists (select from pg_inherits where inhparent = class.oid) as has_children,
    pg_get_userbyid(class.relowner)::text as owner,
    pg_has_role(current_user, class.relowner, 'usage') as owned
from unnest($1::text[], $2::text[]) with ordinality as wanted (schema, name, place)
join pg_namespace as namespace on namespace.nspname = wanted.schema
join pg_class as class
    on class.relnamespace = namespace.oid and class.relname = wanted.name
    -- Indexes, sequences, composite types and TOAST tables are no tables of an application.
    and class.relkind in ('r', 'p', 'v', 'm', 'f')
order by wanted.place

-- What the publication holds of these tables now, one row each; nulls: no such thing. A
-- table may be published by name (pg_publication_rel), or with its schema or all tables.
select
    wanted.schema,
    wanted.name,
    publication.oid as publication_oid,
    class.oid as table_oid,
    case
        when member.oid is not null then member.oid
        when class.oid is not null and exists (
            select from pg_publication_tables listed
            where listed.pubname = $1 and listed.schemaname = wanted.schema
                and listed.tablename = wanted.name
        ) then 0::oid
    end as member_oid
from unnest($2::text[], $3::text[]) as wanted (schema, name)
left join pg_publication publication on publication.pubname = $1
left join pg_namespace namespace on namespace.nspname = wanted.schema
left join pg_class class
    on class.relnamespace = namespace.oid and class.relname = wanted.name
    and class.relkind in ('r', 'p')
left join pg_publication_rel member
    on member.prpubid = publication.oid and member.prrelid = class.oid

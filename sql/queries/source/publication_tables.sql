-- Row filters (prqual) and column lists (prattrs) came with 15.
select
    namespace.nspname::text as schema,
    class.relname::text as name,
    to_jsonb(member) ->> 'prqual' is not null as row_filter,
    to_jsonb(member) ->> 'prattrs' is not null as column_list
from pg_publication_rel as member
join pg_publication as publication on publication.oid = member.prpubid
join pg_class as class on class.oid = member.prrelid
join pg_namespace as namespace on namespace.oid = class.relnamespace
where publication.pubname = $1
order by 1, 2

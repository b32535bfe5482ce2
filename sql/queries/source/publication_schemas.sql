-- 15 and later.
select namespace.nspname::text
from pg_publication_namespace as member
join pg_publication as publication on publication.oid = member.pnpubid
join pg_namespace as namespace on namespace.oid = member.pnnspid
where publication.pubname = $1
order by 1

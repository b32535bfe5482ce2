-- The publication, and of each table that it holds by name its membership.
select
    publication.oid as publication,
    publication.xmin::text::bigint as version,
    published.oid as table_oid,
    coalesce(member.oid, 0) as member
from pg_publication as publication
cross join unnest($2::oid[]) as published (oid)
left join pg_publication_rel as member
    on member.prpubid = publication.oid and member.prrelid = published.oid
where publication.pubname = $1

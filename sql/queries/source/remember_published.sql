insert into published_tables (slot, table_name, publication_oid, table_oid, member_oid, seen_lsn)
values ($1, $2, $3, $4, $5, $6)
on conflict (slot, table_name) do update set
    publication_oid = excluded.publication_oid,
    table_oid = excluded.table_oid,
    member_oid = excluded.member_oid,
    missing = false,
    seen_lsn = excluded.seen_lsn

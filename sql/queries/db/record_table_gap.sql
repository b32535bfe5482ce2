-- A gap after which capture goes on. No end: it is not over.
insert into gaps (slot, kind, table_name, from_lsn, to_lsn, reason)
values ($1, $2, $3, $4, $5, $6)
on conflict (slot, kind, coalesce(table_name, '')) where to_lsn is null do nothing

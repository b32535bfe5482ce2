-- Those that capture has gone on after already.
update gaps set accepted_at = now()
where slot = $1 and accepted_at is null and to_lsn is not null
returning kind, table_name, from_lsn, to_lsn, reason, 0::float8 as age_seconds

-- Not where another session has defined it again meanwhile.
update shadow_tables
set definition = $3, seen_lsn = greatest(seen_lsn, $4)
where id = $1 and definition = $2

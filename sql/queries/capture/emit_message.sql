-- Transactional: it stands in the WAL's order of commits.
select pg_logical_emit_message(true, $1::text, $2::text)

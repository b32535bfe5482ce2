-- Decodes nothing: the output plugin, and so the publication, is not asked.
select end_lsn from pg_replication_slot_advance($1, $2)

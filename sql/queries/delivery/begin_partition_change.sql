begin;
-- A reader in a long transaction must not make everybody queue behind us.
set local lock_timeout = '3s';
-- 7823725: one process changes partitions at a time.
select pg_advisory_xact_lock(7823725);

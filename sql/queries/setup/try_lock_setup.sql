-- Until the session ends, for what makes or removes a store in this database. 7823724 is
-- 0x77616C, "wal" in ASCII: a key of our own.
select pg_try_advisory_lock(7823724) as locked

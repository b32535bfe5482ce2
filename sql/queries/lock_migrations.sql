-- 7823724 is 0x77616C, "wal" in ASCII: a key of our own.
select pg_advisory_lock(7823724)

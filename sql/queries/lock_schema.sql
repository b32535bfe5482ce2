-- Until the transaction ends. 7823724 is 0x77616C, "wal" in ASCII: a key of our own.
select pg_advisory_xact_lock(7823724)

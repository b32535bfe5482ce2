select pg_catalog.pg_last_wal_replay_lsn() >= $1

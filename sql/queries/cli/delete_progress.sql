delete from replication_progress where slot = $1

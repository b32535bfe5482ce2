-- No row where another instance leads: then nothing may be written.
select commit_lsn from replication_progress where slot = $1 and epoch = $2 for update

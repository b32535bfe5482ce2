-- Ends the session of the slot's leader, or of this instance alone where it is that: a
-- transaction that is under way is rolled back, or over, before another leads. The start time
-- tells the session from a later one that was given the same process id.
select pg_terminate_backend(a.pid)
from replication_progress p
join pg_stat_activity a
    on a.pid = p.leader_backend_pid and a.backend_start = p.leader_backend_start
where p.slot = $1 and ($2::uuid is null or p.leader = $2) and a.pid <> pg_backend_pid()

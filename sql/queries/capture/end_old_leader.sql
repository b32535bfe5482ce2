-- Ends the session of the leader before us, so that a transaction of its that is under
-- way is over before the epoch rises. The start time tells it from a later session
-- that was given the same process id.
select pg_terminate_backend(a.pid)
from replication_progress p
join pg_stat_activity a
    on a.pid = p.leader_backend_pid and a.backend_start = p.leader_backend_start
where p.slot = $1 and a.pid <> pg_backend_pid()

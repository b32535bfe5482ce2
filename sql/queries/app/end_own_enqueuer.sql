-- Ends the session of this instance's enqueuer, which has not answered for long.
select pg_terminate_backend(a.pid)
from replication_progress p
join pg_stat_activity a
    on a.pid = p.leader_backend_pid and a.backend_start = p.leader_backend_start
where p.slot = $1 and p.leader = $2 and a.pid <> pg_backend_pid()

-- Of instances that may be running: one that was heard of within $1 seconds may be again.
select id, hostname, roles, encryption_key_ids
from instances
where fenced_at is null and heartbeat_at > now() - make_interval(secs => $1)
order by started_at

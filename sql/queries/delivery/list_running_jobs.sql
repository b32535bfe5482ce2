-- Those whose next batch may be tried: the one that waits longest for it first.
select id, tenant_id
from jobs
where state = 'running' and (batch_at is null or batch_at <= clock_timestamp())
order by coalesce(batch_at, created_at), id

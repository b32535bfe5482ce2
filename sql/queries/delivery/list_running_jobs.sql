-- The one that waits longest for its next batch first.
select id, tenant_id
from jobs
where state = 'running'
order by coalesce(batch_at, created_at), id

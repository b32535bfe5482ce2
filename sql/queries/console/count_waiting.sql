-- Of each state in the schedule up to $1, without batches, which are no deliveries.
select wanted.status, (
    select count(*) from (
        select from delivery_schedule w
        where w.tenant_id = current_tenant() and w.status = wanted.status
            and w.batch_id is distinct from w.delivery_id
        limit $1
    ) few
) as deliveries
from unnest('{failed,parked,pending,held,open,batched}'::text[]) as wanted (status)

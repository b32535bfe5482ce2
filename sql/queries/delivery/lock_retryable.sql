-- Each status by its own walk of the index. Of what is in a batch that is not being sent,
-- the batch too, which is then retried whole.
select found.*
from unnest(case $1 when 'pending' then '{pending,open,batched}' else array[$1] end)
    as wanted (status)
cross join lateral (
    select s.delivery_id, b.delivery_id as batch_id, s.subscription_id
    from delivery_schedule s
    left join delivery_schedule b on b.delivery_id = any (array[s.batch_id])
    where s.tenant_id = current_tenant() and s.status = wanted.status
        and s.delivery_id >= $2 and s.delivery_id < $3
        and ($4::text is null or s.event_type = $4)
        and ($5::uuid is null or s.subscription_id = $5)
        and (s.lease_owner is null or s.leased_until <= now())
        and s.batch_id is distinct from s.delivery_id
        and (s.batch_id is null
            or b.status = 'pending' and (b.lease_owner is null or b.leased_until <= now()))
        and exists (select from webhook_subscriptions w where w.id = s.subscription_id and w.active)
    order by s.delivery_id desc
    limit $6
    for update of s skip locked
) found
order by delivery_id desc
limit $6

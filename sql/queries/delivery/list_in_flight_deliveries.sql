-- What an instance holds in memory stands above its low water ($5), and its event at or
-- above that one's millisecond ($6); the rest is leased, by itself or with its batch.
select d.*, coalesce(s.batch_id, d.batch_id) as shown_batch, coalesce(b.status, s.status) as waits,
    coalesce(b.parked_reason, s.parked_reason) as parked_reason, coalesce(b.due_at, s.due_at) as due_at,
    coalesce(coalesce(b.lease_owner, s.lease_owner) is not null
        and coalesce(b.leased_until, s.leased_until) > now(), false) as leased
from (
    select id from (
        (select w.id from (
            select id from webhook_subscriptions
            union all
            select subscription_id from deleted_subscriptions
        ) own
        join webhook_deliveries w on w.subscription_id = own.id
        where ($3::uuid is null or own.id = $3)
            and w.id >= $5 and w.id < $2 and w.event_id >= $6
            and w.status = 'pending' and w.owner is not null
        order by w.id desc
        limit $4)
        union
        (select delivery_id from delivery_schedule
        where tenant_id = current_tenant()
            and status = 'pending' and lease_owner is not null and leased_until > now()
            and batch_id is null
            and delivery_id >= $1 and delivery_id < $2
            and ($3::uuid is null or subscription_id = $3)
        order by delivery_id desc
        limit $4)
        union
        (select m.delivery_id from delivery_schedule m
        where m.tenant_id = current_tenant() and m.status = 'batched'
            and m.delivery_id >= $1 and m.delivery_id < $2
            and ($3::uuid is null or m.subscription_id = $3)
            and exists (select from delivery_schedule l
                where l.delivery_id = any (array[m.batch_id]) and l.lease_owner is not null and l.leased_until > now())
        order by m.delivery_id desc
        limit $4)
    ) found
    order by id desc
    limit $4
) page
join webhook_deliveries d on d.id = any (array[page.id])
left join delivery_schedule s on s.delivery_id = any (array[d.id])
left join delivery_schedule b on b.delivery_id = any (array[s.batch_id])
order by d.id desc

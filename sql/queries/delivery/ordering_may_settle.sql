-- Whether all that was handed over before the subscription became ordered has ended or is
-- in the schedule, and every closed batch has ended, in which nothing has a place. What was being handed over then has its row after $2 seconds; and what
-- stands in memory, above the low water.
select s.ordering_changed_at
from webhook_subscriptions s
cross join (
    select coalesce(
        (select low_water from instances order by low_water limit 1),
        '00000000-0000-0000-0000-000000000000'
    ) as low_water
) w
where s.id = $1 and not s.ordering_settled
    and s.ordering_changed_at < now() - make_interval(secs => $2)
    and not exists (
        select from delivery_schedule b
        where b.status = 'batched' and b.subscription_id = s.id
            and coalesce(b.tenant_id = s.tenant_id, false)
    )
    and not exists (
        select from webhook_deliveries d
        where d.subscription_id = s.id and d.owner is not null
            and coalesce(d.tenant_id = s.tenant_id, false)
            and d.id >= w.low_water
            -- Of the same millisecond: so the index knows them.
            and d.event_id >= (left(w.low_water::text, 13) || '-0000-0000-000000000000')::uuid
    )

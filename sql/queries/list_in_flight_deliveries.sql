-- What an instance holds in memory stands above its low water ($6); the rest is leased.
select d.*, s.status as waits, s.parked_reason, s.due_at,
    coalesce(s.lease_owner is not null and s.due_at > now(), false) as leased
from (
    select id from (
        (select id from webhook_deliveries
        where id >= greatest($1::uuid, $6::uuid) and id < $2
            and status = 'pending' and owner is not null
            and ($3::text is null or event_type = $3)
            and ($4::uuid is null or subscription_id = $4)
        order by id desc
        limit $5)
        union
        (select delivery_id from delivery_schedule
        where status = 'pending' and lease_owner is not null and due_at > now()
            and delivery_id >= $1 and delivery_id < $2
            and ($3::text is null or event_type = $3)
            and ($4::uuid is null or subscription_id = $4)
        order by delivery_id desc
        limit $5)
    ) found
    order by id desc
    limit $5
) page
join webhook_deliveries d on d.id = page.id
left join delivery_schedule s on s.delivery_id = d.id
order by d.id desc

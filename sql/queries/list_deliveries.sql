-- The page first, then its few rows of the schedule. What is in a batch waits as that does.
select d.*, coalesce(s.batch_id, d.batch_id) as shown_batch, coalesce(b.status, s.status) as waits,
    coalesce(b.parked_reason, s.parked_reason) as parked_reason, coalesce(b.due_at, s.due_at) as due_at,
    coalesce(coalesce(b.lease_owner, s.lease_owner) is not null
        and coalesce(b.due_at, s.due_at) > now(), false) as leased
from (
    select * from webhook_deliveries
    where id >= $1 and id < $2
        and ($3::text is null or status = $3)
        and ($4::text is null or event_type = $4)
        and ($5::uuid is null or subscription_id = $5)
        and ($6::uuid is null or event_id = $6)
    order by id desc
    limit $7
) d
left join delivery_schedule s on s.delivery_id = d.id
left join delivery_schedule b on b.delivery_id = s.batch_id
order by d.id desc

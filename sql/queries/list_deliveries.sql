-- The page first, then its few rows of the schedule.
select d.*, s.status as waits, s.parked_reason, s.due_at,
    coalesce(s.lease_owner is not null and s.due_at > now(), false) as leased
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
order by d.id desc

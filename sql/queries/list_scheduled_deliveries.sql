-- Each status by its own walk of the index, which ends at the page: successes are never met.
select d.*, s.status as waits, s.parked_reason, s.due_at, false as leased
from (
    select found.*
    from unnest($1::text[]) as wanted (status)
    cross join lateral (
        select * from delivery_schedule
        where status = wanted.status
            and delivery_id >= $2 and delivery_id < $3
            and ($4::text is null or event_type = $4)
            and ($5::uuid is null or subscription_id = $5)
            and (lease_owner is null or due_at <= now())
        order by delivery_id desc
        limit $6
    ) found
    order by delivery_id desc
    limit $6
) s
join webhook_deliveries d on d.id = s.delivery_id
order by d.id desc

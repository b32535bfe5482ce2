-- A page of what waits, newest first. Each of `arms` is scheduled_in_status.sql of one status; they are
-- one statement, as rows change their status meanwhile.
select d.*, coalesce(s.batch_id, d.batch_id) as shown_batch, coalesce(b.status, s.status) as waits,
    coalesce(b.parked_reason, s.parked_reason) as parked_reason, coalesce(b.due_at, s.due_at) as due_at,
    false as leased
from (
    select found.* from (/* arms */) found
    order by delivery_id desc
    limit $4
) s
join webhook_deliveries d on d.id = any (array[s.delivery_id])
left join delivery_schedule b on b.delivery_id = any (array[s.batch_id])
order by d.id desc

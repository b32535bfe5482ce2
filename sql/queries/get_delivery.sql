select d.*, s.status as waits, s.parked_reason, s.due_at,
    coalesce(s.lease_owner is not null and s.due_at > now(), false) as leased
from webhook_deliveries d
left join delivery_schedule s on s.delivery_id = d.id
where d.id = $1

-- What is in a batch waits as the batch does.
select d.*, coalesce(s.batch_id, d.batch_id) as shown_batch, coalesce(b.status, s.status) as waits,
    coalesce(b.parked_reason, s.parked_reason) as parked_reason, coalesce(b.due_at, s.due_at) as due_at,
    coalesce(coalesce(b.lease_owner, s.lease_owner) is not null
        and coalesce(b.leased_until, s.leased_until) > now(), false) as leased
from webhook_deliveries d
left join delivery_schedule s on s.delivery_id = d.id
left join delivery_schedule b on b.delivery_id = s.batch_id
where d.id = any ($1)

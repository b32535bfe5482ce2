-- With the state that the API shows. What is in a batch waits as that does.
select d.id, d.attempts, d.last_http_status,
    case
        when d.status <> 'pending' then d.status
        when d.owner is not null or coalesce(b.lease_owner, s.lease_owner) is not null
            and coalesce(b.leased_until, s.leased_until) > now() then 'in_flight'
        when coalesce(b.status, s.status) = 'parked' then 'parked'
        else d.status
    end as status
from webhook_deliveries d
left join delivery_schedule s on s.delivery_id = any (array[d.id])
left join delivery_schedule b on b.delivery_id = any (array[s.batch_id])
where d.id = any ($1::uuid[])

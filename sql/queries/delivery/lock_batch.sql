-- The batch that a delivery is sent in, unless that has ended.
select s.delivery_id, s.lease_owner is not null and s.leased_until > now() as leased
from delivery_schedule m
join delivery_schedule s on s.delivery_id = any (array[m.batch_id])
where m.delivery_id = $1 and m.status = 'batched'
for update of s

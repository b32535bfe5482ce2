-- Milliseconds until something is due; null where nothing waits.
select (extract(epoch from due_at - now()) * 1000)::bigint
from delivery_schedule
where status = 'pending' and subscription_id <> all($1)
order by due_at
limit 1

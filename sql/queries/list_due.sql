-- For whom something waits, and the milliseconds until it is due. The index is entered
-- once for each such subscription, however many rows it has.
with recursive waiting as (
    (select subscription_id, due_at
    from delivery_schedule
    where status = 'pending'
    order by subscription_id, due_at, delivery_id
    limit 1)
    union all
    select next.*
    from waiting w
    cross join lateral (
        select s.subscription_id, s.due_at
        from delivery_schedule s
        where s.status = 'pending' and s.subscription_id > w.subscription_id
        order by s.subscription_id, s.due_at, s.delivery_id
        limit 1
    ) next
)
select subscription_id, (extract(epoch from due_at - now()) * 1000)::bigint as milliseconds
from waiting

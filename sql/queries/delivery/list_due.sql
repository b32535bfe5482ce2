-- For whom something waits, and the milliseconds until it is due. The index is entered
-- once for each such subscription, however many rows it has, and once more where what is
-- leased stands before what waits. A lease's end makes it due again. When that is, next_due
-- says alike of some of them.
with recursive waiting as (
    (select subscription_id, due_at, lease_owner, leased_until
    from delivery_schedule
    where status = 'pending'
    order by subscription_id, due_at, delivery_id
    limit 1)
    union all
    select next.*
    from waiting w
    cross join lateral (
        select s.subscription_id, s.due_at, s.lease_owner, s.leased_until
        from delivery_schedule s
        where s.status = 'pending' and s.subscription_id > w.subscription_id
        order by s.subscription_id, s.due_at, s.delivery_id
        limit 1
    ) next
)
select w.subscription_id,
    (extract(epoch from case
        when w.lease_owner is null then w.due_at
        else least(w.leased_until, (
            select s.due_at
            from delivery_schedule s
            where s.status = 'pending' and s.subscription_id = w.subscription_id
                and s.lease_owner is null
            order by s.due_at, s.delivery_id
            limit 1
        ))
    end - now()) * 1000)::bigint as milliseconds
from waiting w

-- For whom something waits among these ranges of subscriptions, and the milliseconds until it is
-- due. The index is entered once for each such subscription, however many rows it has, and once
-- more where what is leased stands before what waits. A lease's end makes it due again.
with recursive waiting as (
    (select first.*, asked.last
    from unnest($1::uuid[], $2::uuid[]) as asked (first, last)
    cross join lateral (
        select s.subscription_id, s.due_at, s.lease_owner, s.leased_until
        from delivery_schedule s
        where s.status = 'pending' and s.subscription_id between asked.first and asked.last
        order by s.subscription_id, s.due_at, s.delivery_id
        limit 1
    ) first)
    union all
    select next.*, w.last
    from waiting w
    cross join lateral (
        select s.subscription_id, s.due_at, s.lease_owner, s.leased_until
        from delivery_schedule s
        where s.status = 'pending' and s.subscription_id > w.subscription_id
            and s.subscription_id <= w.last
        order by s.subscription_id, s.due_at, s.delivery_id
        limit 1
    ) next
    where w.subscription_id < w.last
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

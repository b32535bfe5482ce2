-- Due before all that waits for its subscription: what is asked for by hand is sent next.
update delivery_schedule d
set due_at = least(d.due_at, (
    select s.due_at - interval '1 microsecond'
    from delivery_schedule s
    where s.status = 'pending' and s.subscription_id = d.subscription_id
    order by s.due_at, s.delivery_id
    limit 1
))
where d.delivery_id = $1 and d.status = 'pending'

-- Deliveries that are due and not begun, counted up to a bound.
select count(*)
from (
    select from delivery_schedule
    where status = 'pending' and due_at <= now()
        and (lease_owner is null or leased_until <= now())
    limit $1
) as due

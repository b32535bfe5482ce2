-- A leased one is being sent at this moment: its result settles it.
update delivery_schedule
set status = 'parked', parked_reason = 'disabled', lease_owner = null
where delivery_id in (
        select delivery_id from delivery_schedule
        where subscription_id = $1 and status in ('pending', 'held')
        union all
        select delivery_id from delivery_schedule where subscription_id = $1 and status = 'open'
    )
    and status in ('pending', 'held', 'open') and (lease_owner is null or leased_until <= now())

-- The tenant's oldest lead that nobody has looked at.
update leads
set status = $2, updated_at = now()
where id = (
    select id from leads
    where tenant_id = $1 and status = 'new'
    order by id
    limit 1
)
returning name

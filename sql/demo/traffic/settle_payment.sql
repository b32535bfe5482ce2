-- The tenant's oldest pending payment.
update payments
set status = $2, failure_reason = $3, updated_at = now()
where id = (
    select id from payments
    where tenant_id = $1 and status = 'pending'
    order by created_at
    limit 1
)
returning amount::text

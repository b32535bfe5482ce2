-- The tenant's oldest draft.
update sales_orders
set status = $2, cancel_reason = $3, updated_at = now()
where id = (
    select id from sales_orders
    where tenant_id = $1 and status = 'draft'
    order by id
    limit 1
)
returning order_number

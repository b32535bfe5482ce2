-- The tenant with most of the deliveries that failed for good within the last day, and how
-- many all tenants have.
select tenant_id, count(*) as deliveries, (sum(count(*)) over ())::int8 as total
from delivery_schedule
where status = 'failed' and due_at > now() - interval '1 day'
group by tenant_id
order by count(*) desc, tenant_id
limit 1

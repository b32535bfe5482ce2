select *
from jobs
where tenant_id = current_tenant() and id < $1
order by id desc
limit $2

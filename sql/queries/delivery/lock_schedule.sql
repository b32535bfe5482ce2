select lease_owner is not null and leased_until > now() as leased
from delivery_schedule
where delivery_id = $1
for update

select lease_owner is not null and due_at > now() as leased
from delivery_schedule
where delivery_id = $1
for update

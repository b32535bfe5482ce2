select id, low_water
from instances
where fenced_at is not null
limit 1
for update skip locked

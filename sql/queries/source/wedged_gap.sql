select g.reason
from gaps g
join replication_progress p on p.slot = g.slot
where g.slot = $1 and g.accepted_at is null and g.wedged and g.from_lsn >= p.acknowledged_lsn
order by g.id desc
limit 1

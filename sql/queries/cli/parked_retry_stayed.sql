-- Why those stay parked that were asked for at a time, the most frequent reasons first.
select rule, relation, reason, detail, count(*) as changes
from parked_changes
where retried_at = $1
group by rule, relation, reason, detail
order by count(*) desc, rule, relation, reason, detail
limit 10

select commit_lsn, ordinal, rule, relation, reason, detail, parked_at
from parked_changes
where parked_at >= $1 and parked_at < $2
order by commit_lsn, ordinal, rule
limit $3

-- When the first event after a position of the WAL was committed, in a range of ids.
select min(occurred_at)
from webhook_events
where id >= $1 and id < $2 and commit_lsn >= $3 and (commit_lsn, ordinal) > ($4, $5)

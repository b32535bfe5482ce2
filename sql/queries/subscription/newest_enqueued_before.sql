-- When the newest event at or below a position of the WAL was committed, of those
-- committed before a time. A ping stands nowhere in the WAL.
select occurred_at
from webhook_events
where id < $1 and commit_lsn > '0/0' and (commit_lsn, ordinal) <= ($2, $3)
order by id desc
limit 1

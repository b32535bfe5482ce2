-- Of the WAL: a ping has no position in it.
select max(occurred_at)
from webhook_events
where commit_lsn > '0/0' and commit_lsn <= $1

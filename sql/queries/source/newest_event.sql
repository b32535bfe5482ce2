-- Of the WAL: a ping has no position in it.
select occurred_at
from webhook_events
where commit_lsn > '0/0'
order by id desc
limit 1

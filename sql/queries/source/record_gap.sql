-- Once, however often walhook is started again before the gap is accepted. True: it is new.
insert into gaps (slot, kind, from_lsn, reason, wedged)
select slot, $2, acknowledged_lsn, $3, $4
from replication_progress
where slot = $1
on conflict (slot, kind, coalesce(table_name, '')) where to_lsn is null
do update set from_lsn = excluded.from_lsn, reason = excluded.reason, wedged = excluded.wedged
returning xmax = 0 as is_new

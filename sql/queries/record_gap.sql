-- Once, however often walhook is started again before the gap is accepted.
insert into gaps (slot, from_lsn, reason, wedged)
select p.slot, p.acknowledged_lsn, $2, $3
from replication_progress p
where p.slot = $1
    and not exists (
        select from gaps g
        where g.slot = p.slot and g.accepted_at is null
            and g.from_lsn = p.acknowledged_lsn and g.reason = $2
    )

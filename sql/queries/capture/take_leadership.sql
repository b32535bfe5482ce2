-- No row where the store knows nothing of the slot, or where another instance has taken
-- this one for dead: it may own no more deliveries. The lock makes whoever is about to
-- fence it wait, and then see who leads.
with alive as materialized (
    select id from instances where id = $2 and fenced_at is null for share
)
update replication_progress p
set epoch = epoch + 1, leader = alive.id, leader_backend_pid = pg_backend_pid(),
    leader_backend_start = (
        select backend_start from pg_stat_activity where pid = pg_backend_pid()
    )
from alive
where p.slot = $1
returning p.epoch, p.system_identifier, p.timeline, p.commit_lsn, p.ordinal, p.complete,
    p.acknowledged_lsn

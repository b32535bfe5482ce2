-- A silent instance that leads the capture is fenced by its epoch: this waits for an
-- enqueue of its that is under way, and the next one touches no row. From then on what
-- it owns grows no more.
with silent as (
    update instances
    set fenced_at = now()
    where id <> $1 and fenced_at is null and heartbeat_at < now() - make_interval(secs => $2)
    returning id
)
update replication_progress
set epoch = epoch + 1
where leader in (select id from silent)

-- Whether an instance holds the slot. One that is silent for 6 s is taken for dead.
select exists (
    select
    from replication_progress
    join instances on instances.id = replication_progress.leader
    where replication_progress.slot = $1 and instances.fenced_at is null
        and instances.heartbeat_at > now() - interval '6 seconds'
)

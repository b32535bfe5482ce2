-- One that is silent for so long has been fenced.
select exists (
    select from instances
    where fenced_at is null and heartbeat_at > now() - interval '6 seconds'
)

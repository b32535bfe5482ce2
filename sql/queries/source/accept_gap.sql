-- Begins again at a position of the source, in one statement: the gap up to it is on
-- record, accepted or not yet (what was shed, $9), no leader of before can write any more (the epoch), and no subscription waits
-- for a position of another log, which the new one may reach in years.
with open as (
    update gaps set to_lsn = coalesce(to_lsn, $5), accepted_at = now()
    where $9 and slot = $1 and accepted_at is null
    returning reason
), new as (
    insert into gaps (slot, kind, from_lsn, to_lsn, reason, accepted_at)
    select $1, $8, $6, $5, $7, case when $9 then now() end
    where not exists (select from open where reason = $7)
), published as (
    -- What the tables were before says nothing after it: they are looked at again.
    delete from published_tables where slot = $1 and $9
), moved as (
    update webhook_subscriptions set from_lsn = $5 where from_lsn > $5
), stale as (
    -- Behind a gap the shadow is not what the tables were. Its rules stay active, so that
    -- what they cannot decide until it is made again is parked.
    delete from row_shadow
    using shadow_tables
    where shadow_tables.slot = $1 and shadow_tables.id = row_shadow.shadow_id
), shadow as (
    update shadow_tables
    set state = 'seeding', seeded_key = null, seeded_rows = 0, complete_at_lsn = null, seen_lsn = $5,
        updated_at = now()
    where slot = $1
)
insert into replication_progress
    (slot, system_identifier, timeline, commit_lsn, ordinal, complete, acknowledged_lsn)
values ($1, $2, $3, $4, 0, true, $5)
on conflict (slot) do update set
    system_identifier = excluded.system_identifier,
    timeline = excluded.timeline,
    commit_lsn = excluded.commit_lsn,
    ordinal = excluded.ordinal,
    complete = excluded.complete,
    acknowledged_lsn = excluded.acknowledged_lsn,
    epoch = replication_progress.epoch + 1,
    leader = null,
    leader_backend_pid = null,
    leader_backend_start = null,
    updated_at = now()

-- Which row a parked change met, and how large it was where that is the reason: a row
-- above source.max_row is not held, and an event that needs its large values is parked.
-- `change` is all of it that the log had, so that it can be mapped again by a changed rule.
alter table parked_changes
    add column row_key text,
    add column row_bytes bigint check (row_bytes >= 0),
    add column change bytea,
    drop constraint parked_changes_reason_check,
    add constraint parked_changes_reason_check
        check (reason in ('unroutable', 'unmappable', 'undecodable', 'oversized'));

-- The rules that fitted their tables when walhook began with them, each by what it then
-- said. One that is here and does not fit any more met a change of its table: its changes
-- are parked and capture goes on. One that is not here is an error at start.
create table accepted_rules (
    slot text not null,
    rule text not null,
    definition bytea not null,
    accepted_at timestamptz not null default now(),
    primary key (slot, rule)
);

-- Which row a parked change met, and how large it was where that is the reason: a row
-- above source.max_row is not held, and an event that needs its large values is parked.
alter table parked_changes
    add column row_key text,
    add column row_bytes bigint check (row_bytes >= 0),
    drop constraint parked_changes_reason_check,
    add constraint parked_changes_reason_check
        check (reason in ('unroutable', 'unmappable', 'undecodable', 'oversized'));

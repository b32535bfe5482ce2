-- A claim notes its lease on the row and leaves due_at, which an index holds: the update
-- is HOT, and touches no index, where its page has room for another version of each row.
alter table delivery_schedule add column leased_until timestamptz;
update delivery_schedule set leased_until = due_at, due_at = now()
where lease_owner is not null;
alter table delivery_schedule
    add constraint leased_says_until_when
        check (lease_owner is null or leased_until is not null);
alter table delivery_schedule set (fillfactor = 45);

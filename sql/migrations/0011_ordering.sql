-- Ordered subscriptions. What is sent to them always goes through the schedule, where it
-- has the place of its change: of a row's deliveries only the first is claimed. The ones
-- behind it are held, out of the claim's sight, until it has ended.
alter table delivery_schedule
    -- A hash of the row's key; null: waits for no other.
    add column order_key bigint,
    add column commit_lsn pg_lsn,
    add column ordinal bigint,
    add column rule_index smallint,
    drop constraint delivery_schedule_status_check,
    add constraint delivery_schedule_status_check
        check (status in ('pending', 'held', 'parked', 'failed')),
    add constraint ordered_has_a_place
        check (num_nulls(order_key, commit_lsn, ordinal, rule_index) in (0, 4)),
    add constraint only_ordered_is_held check (status <> 'held' or order_key is not null);
create index delivery_schedule_order
    on delivery_schedule (subscription_id, order_key, commit_lsn, ordinal, rule_index, delivery_id)
    where order_key is not null and status in ('pending', 'held');

-- A subscription that became ordered has deliveries from before in memory and, without
-- a place, in the schedule. It is settled when each has ended or got its place; until
-- then all that is ordered is held.
alter table webhook_subscriptions
    add column ordering_settled boolean not null default true,
    add column ordering_changed_at timestamptz,
    add constraint unsettled_says_since_when
        check (ordering_settled or ordering_changed_at is not null);

-- Beside the other trigger, which every change by the API fires.
create trigger raise_subscription_generation_when_settled
    after update of ordering_settled on webhook_subscriptions
    for each statement execute function raise_subscription_generation();

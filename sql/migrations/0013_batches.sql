-- Batches: several deliveries of one subscription in one request.

-- All three limits, or none: then each event is sent by itself.
alter table webhook_subscriptions
    add column batch_max_events integer check (batch_max_events between 1 and 1000),
    add column batch_max_bytes integer check (batch_max_bytes between 1024 and 1048576),
    add column batch_max_wait_ms integer check (batch_max_wait_ms between 0 and 60000),
    add constraint batches_have_all_limits
        check (num_nulls(batch_max_events, batch_max_bytes, batch_max_wait_ms) in (0, 3));

drop trigger raise_subscription_generation on webhook_subscriptions;
create trigger raise_subscription_generation
    after insert or delete
        or update of tenant_id, url, events, filter, headers, ordering, format, rate_limit,
            batch_max_events, batch_max_bytes, batch_max_wait_ms, active, secret,
            previous_secret, previous_secret_expires_at, from_lsn
    on webhook_subscriptions
    for each statement execute function raise_subscription_generation();

-- An open delivery waits for its batch to close: from due_at on, its arrival, for as long
-- as the subscription says. A closed batch is a row of its own, whose delivery_id is its
-- batch_id: it is due, leased, parked and tried again as one. Its members are batched, and
-- wait for what becomes of it. They are its content, and none ever joins or leaves it.
alter table delivery_schedule drop constraint delivery_schedule_status_check;
alter table delivery_schedule
    add column batch_id uuid,
    -- Of the event, where it is to be sent in a batch; of a batch, the whole.
    add column body_bytes integer,
    -- Where an open one stands in the log: events are batched in this order.
    add column batch_lsn pg_lsn,
    add column batch_ordinal bigint,
    add column batch_rule smallint,
    add constraint delivery_schedule_status_check
        check (status in ('pending', 'held', 'parked', 'failed', 'open', 'batched')),
    add constraint open_has_a_place_and_a_size
        check (status not in ('open', 'batched')
            or num_nulls(body_bytes, batch_lsn, batch_ordinal, batch_rule) = 0),
    add constraint batched_is_in_a_batch check (status <> 'batched' or batch_id is not null),
    add constraint open_is_in_none check (status not in ('open', 'failed') or batch_id is null);
create index delivery_schedule_open
    on delivery_schedule (subscription_id, batch_lsn, batch_ordinal, batch_rule, delivery_id)
    where status = 'open';
-- Without them: of an open one nobody asks when it is due, and a planner that has no
-- statistics of a burst yet would read all of them by the wrong index.
drop index delivery_schedule_waiting;
create index delivery_schedule_waiting
    on delivery_schedule (status, subscription_id, due_at, delivery_id) where status <> 'open';
create index delivery_schedule_batch on delivery_schedule (batch_id) where batch_id is not null;

-- The batch that it was sent in last.
alter table webhook_deliveries add column batch_id uuid;

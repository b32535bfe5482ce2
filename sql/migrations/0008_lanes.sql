-- Attempts in a second that the tenant wants its endpoint to get at most.
alter table webhook_subscriptions
    add column rate_limit integer check (rate_limit between 1 and 10000);

drop trigger raise_subscription_generation on webhook_subscriptions;
create trigger raise_subscription_generation
    after insert or delete
        or update of tenant_id, url, events, filter, headers, format, rate_limit, active, secret,
            previous_secret, previous_secret_expires_at, from_lsn
    on webhook_subscriptions
    for each statement execute function raise_subscription_generation();

-- One index for the claim, which is by subscription, and for all that is done to a
-- subscription's rows. By subscription a claim meets nobody else's rows; behind the row
-- that was claimed last it meets no dead ones, and rows that are due at the same moment
-- have an order for that.
drop index delivery_schedule_due;
drop index delivery_schedule_subscription;
create index delivery_schedule_waiting
    on delivery_schedule (status, subscription_id, due_at, delivery_id);

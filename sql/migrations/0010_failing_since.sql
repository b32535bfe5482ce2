-- Since when an endpoint has done nothing but fail: the first failed attempt after its
-- last success. It is disabled when that has lasted for delivery.disable_after.
alter table webhook_subscriptions add column failing_since timestamptz;

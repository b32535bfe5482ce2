-- Row-level security leaves the tenant's own.
select count(*) from webhook_subscriptions

-- Of which nothing is left to list. What was being enqueued when it was deleted has
-- committed after a day.
delete from deleted_subscriptions s
where s.deleted_at < $1::timestamptz - interval '1 day'
    and not exists (
        select from webhook_deliveries d
        where d.subscription_id = s.subscription_id
    )

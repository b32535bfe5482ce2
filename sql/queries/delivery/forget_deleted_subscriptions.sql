-- Of which nothing is left to list. What was being enqueued when it was deleted has
-- committed after a day.
with forgotten as (
    delete from deleted_subscriptions
    where subscription_id = any (array(
        select s.subscription_id from deleted_subscriptions s
        where s.deleted_at < $1::timestamptz - interval '1 day'
            and not exists (
                select from webhook_deliveries d
                where d.subscription_id = s.subscription_id
            )
        limit $2
    ))
    returning subscription_id
),
results as (
    delete from subscription_results r
    using forgotten f
    where r.subscription_id = f.subscription_id
),
counts as (
    delete from delivery_stats c
    using forgotten f
    where c.subscription_id = f.subscription_id
),
versions as (
    delete from subscription_versions v
    using forgotten f
    where v.subscription_id = f.subscription_id
)
select from forgotten

-- The condition and the keys of a backfill for a subscription of the tenant, which is over with
-- it; of others the condition, where they have ended and it names the tenant.
update backfills
set filter = null, cursor = null, until_key = null,
    status = case when finished_at is null then 'cancelled' else status end, error = null,
    finished_at = coalesce(finished_at, now()), updated_at = now()
where (
        subscription_id in (
            select id from webhook_subscriptions where tenant_id = $1
            union all
            select subscription_id from deleted_subscriptions where tenant_id = $1
        )
        and (finished_at is null or num_nonnulls(filter, cursor, until_key) > 0)
    )
    or (
        finished_at is not null
        and position(quote_literal($1) in filter) > 0
    )

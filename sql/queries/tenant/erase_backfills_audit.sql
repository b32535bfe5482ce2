-- Such an entry is of the operator, and holds the condition (erase_backfills.sql).
delete from audit_log
where tenant_id is null and action = 'backfill.create'
    and (
        after ->> 'subscription_id' in (
            select 'sub_' || id from webhook_subscriptions where tenant_id = $1
            union all
            select 'sub_' || subscription_id from deleted_subscriptions where tenant_id = $1
        )
        or position(quote_literal($1) in after ->> 'where') > 0
    )

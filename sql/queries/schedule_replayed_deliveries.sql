-- Where the subscription is ordered they take the places of their changes, as whatever
-- waits for it does.
insert into delivery_schedule
    (delivery_id, subscription_id, tenant_id, event_type, status, due_at,
        order_key, commit_lsn, ordinal, rule_index)
select ids.id, $7, $8, ids.event_type, 'pending', now(), hashtextextended(row_key, 0),
    case when row_key is not null then commit_lsn end,
    case when row_key is not null then ordinal end,
    case when row_key is not null then rule_index end
from (
    select id, event_type, commit_lsn, ordinal, rule_index,
        case when exists (
            select from webhook_subscriptions where id = $7 and ordering = 'row'
        ) then nullif(row_key, '') end as row_key
    from unnest($1::uuid[], $2::text[], $3::pg_lsn[], $4::int8[], $5::int2[], $6::text[])
        as u (id, event_type, commit_lsn, ordinal, rule_index, row_key)
) ids

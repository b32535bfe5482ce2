-- Where the subscription is ordered they take the places of their changes, as whatever
-- waits for it does. What is to be sent in a batch has a size, and counts as having waited
-- for so long already ($10), where the batch must not wait.
insert into delivery_schedule
    (delivery_id, subscription_id, tenant_id, event_type, status, due_at,
        order_key, commit_lsn, ordinal, rule_index,
        body_bytes, batch_lsn, batch_ordinal, batch_rule, trigger, actor)
select ids.id, $7, $8, ids.event_type, case when body_bytes is null then 'pending' else 'open' end,
    now() - make_interval(secs => $10),
    hashtextextended(row_key, 0),
    case when row_key is not null then commit_lsn end,
    case when row_key is not null then ordinal end,
    case when row_key is not null then rule_index end,
    body_bytes,
    case when body_bytes is not null then commit_lsn end,
    case when body_bytes is not null then ordinal end,
    case when body_bytes is not null then rule_index end,
    $11::int2, $12::uuid
from (
    select id, event_type, commit_lsn, ordinal, rule_index, body_bytes,
        case when exists (
            select from webhook_subscriptions where id = $7 and ordering = 'row'
        ) then nullif(row_key, '') end as row_key
    from unnest($1::uuid[], $2::text[], $3::pg_lsn[], $4::int8[], $5::int2[], $6::text[], $9::int4[])
        as u (id, event_type, commit_lsn, ordinal, rule_index, row_key, body_bytes)
) ids

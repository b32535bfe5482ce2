-- A tenant's events in the order of their ids, found as list_events.sql does; which of them
-- are of the time and the position in the WAL. $5 and $6: the types as patterns of LIKE, of
-- which one each must match. A test (without a rule) is not
-- repeated. The walks ask only what stands beside the ids, so that each ends at the page.
select e.id, e.event_type, e.commit_lsn, e.ordinal, e.rule_index, e.row_key, judged.wanted,
    case when judged.wanted and $7 then e.body end as body, octet_length(e.body) as body_bytes
from (
    select id
    from (
        (select id
        from webhook_events
        where not has_deliveries and tenant_id = current_tenant() and id > $1 and id < $2
            and event_type like any ($5) and event_type like any ($6)
        order by id
        limit $8)
        union
        (select oldest.event_id
        from (
            select id from webhook_subscriptions
            union all
            select subscription_id from deleted_subscriptions
        ) own
        cross join lateral (
            select d.event_id
            from webhook_deliveries d
            where d.subscription_id = own.id and d.replay_id is null
                and d.event_id > $1 and d.event_id < $2 and d.id >= $11 and d.id < $2
                and d.event_type like any ($5) and d.event_type like any ($6)
            order by d.event_id
            limit $8
        ) oldest)
    ) found
    order by id
    limit $8
) page
join webhook_events e on e.id = any (array[page.id])
cross join lateral (
    select e.rule <> '' and e.occurred_at >= $3 and e.occurred_at < $4
        and ($9::pg_lsn is null or e.commit_lsn >= $9)
        and ($10::pg_lsn is null or e.commit_lsn <= $10) as wanted
) judged
order by e.id

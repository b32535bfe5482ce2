-- One statement for a batch of results, but for what was claimed and is delivered
-- (record_leased_successes). A result counts only where its delivery is
-- still ours: owned by this instance, or leased to it in the schedule. Everything that
-- follows is carried through `recorded`, so that no two batches are joined by scanning.
--
-- When something was, or is due, is given in seconds from now: of times the store's clock
-- decides, with which they are compared.
with result as materialized (
    select r.id, r.leased, r.status, r.parked_reason, r.attempts, r.http_status, r.error,
        clock_timestamp() + make_interval(secs => r.due_in) as due_at,
        case when r.status = 'delivered' then clock_timestamp() - make_interval(secs => r.ended_ago) end
            as delivered_at,
        clock_timestamp() - make_interval(secs => r.started_ago) as started_at,
        r.duration_ms, r.error_class, r.response_excerpt, r.content_type, r.response_headers,
        r.response_body, r.response_truncated, r.trigger, r.actor, r.subscription_version,
        -- A first attempt that succeeds needs no row of its own.
        r.status = 'delivered' and r.attempts = 1 as is_first
    from unnest(
        $2::uuid[], $3::bool[], $4::text[], $5::text[], $6::int4[], $7::int2[], $8::text[],
        $9::float8[], $10::float8[], $11::float8[], $12::int4[], $13::text[], $14::text[],
        $15::text[], $16::jsonb[], $17::bytea[], $18::bool[], $19::int2[], $20::uuid[], $21::int4[]
    ) as r (id, leased, status, parked_reason, attempts, http_status, error, due_in,
        started_ago, ended_ago, duration_ms, error_class, response_excerpt, content_type,
        response_headers, response_body, response_truncated, trigger, actor, subscription_version)
),
-- The schedule's rows are locked before the deliveries, as by those who retry by hand.
leased as materialized (
    select r.*
    from result r
    join delivery_schedule s on s.delivery_id = any (array[r.id])
    where r.leased and coalesce(s.lease_owner = $1, false)
    order by r.id
    for update of s
),
ours as (
    select r.*
    from result r
    where not r.leased
    union all
    select *
    from leased
),
recorded as (
    update webhook_deliveries d
    set status = case when r.status = 'parked' then 'pending' else r.status end,
        attempts = r.attempts,
        last_http_status = coalesce(r.http_status, d.last_http_status),
        last_error = case when r.status = 'delivered' then null else coalesce(r.error, d.last_error) end,
        next_attempt_at = case when r.status = 'pending' then r.due_at end,
        delivered_at = r.delivered_at,
        owner = null,
        first_attempt_at = case when r.is_first then r.started_at else d.first_attempt_at end,
        first_duration_ms = case when r.is_first then r.duration_ms else d.first_duration_ms end,
        first_http_status = case when r.is_first then r.http_status else d.first_http_status end,
        first_response_excerpt =
            case when r.is_first then r.response_excerpt else d.first_response_excerpt end,
        first_content_type =
            case when r.is_first then r.content_type else d.first_content_type end,
        first_trigger = case when r.is_first then r.trigger else d.first_trigger end,
        first_actor = case when r.is_first then r.actor else d.first_actor end,
        first_subscription_version =
            case when r.is_first then r.subscription_version else d.first_subscription_version end
    from ours r
    where d.id = any (array[r.id])
        and coalesce(d.status = 'pending', false)
        and (r.leased or d.owner = $1)
    returning d.id, d.subscription_id, d.tenant_id, d.event_type, r.leased, r.status,
        r.parked_reason, r.attempts, r.http_status, r.error, r.due_at, r.started_at,
        r.duration_ms, r.error_class, r.response_excerpt, r.content_type, r.response_headers,
        r.response_body, r.response_truncated, r.trigger, r.actor, r.subscription_version,
        r.is_first
),
freed as (
    delete from delivery_schedule s
    using recorded x
    where x.leased and x.status = 'cancelled' and s.delivery_id = any (array[x.id])
    returning s.subscription_id, s.order_key
),
waiting as materialized (
    -- Whoever found the subscription disabled may have been overtaken by its being
    -- enabled, which made due all that was parked: one that is parked after that would
    -- wait for ever. The lock lets neither overtake the other.
    select x.*, x.parked_reason is not distinct from 'disabled' and not exists (
            select from webhook_subscriptions s
            where s.id = x.subscription_id and not s.active
            for share
        ) as enabled
    from recorded x
    where x.status in ('pending', 'parked', 'failed')
),
kept as (
    insert into delivery_schedule
        (delivery_id, subscription_id, tenant_id, event_type, status, parked_reason, due_at, tried,
            trigger, actor)
    select id, subscription_id, tenant_id, event_type,
        case when enabled then 'pending' else status end,
        case when not enabled then parked_reason end,
        coalesce(due_at, clock_timestamp()), attempts > 0,
        -- What a user asked for is done with the attempt; whether the next is a probe (4) is
        -- decided when it is made.
        case when started_at is null and trigger <> 4 then trigger end,
        case when started_at is null then actor end
    from waiting
    on conflict (delivery_id) do update
    set status = excluded.status, parked_reason = excluded.parked_reason,
        due_at = excluded.due_at, tried = excluded.tried, lease_owner = null,
        trigger = excluded.trigger, actor = excluded.actor
    returning subscription_id, order_key, status
),
attempted as (
    insert into webhook_attempts
        (delivery_id, number, tenant_id, started_at, duration_ms, http_status, error_class,
            error, response_excerpt, content_type, response_headers, response_body,
            response_truncated, trigger, actor, subscription_version)
    select id, attempts, tenant_id, started_at, duration_ms, http_status, error_class, error,
        response_excerpt, content_type, response_headers, response_body, response_truncated,
        trigger, actor, subscription_version
    from recorded
    where started_at is not null and not is_first
    on conflict do nothing
)
-- What was recorded, and the rows of which an ordered delivery has ended.
select id, null::uuid as subscription_id, null::int8 as order_key from recorded
union all
select null, subscription_id, order_key from freed where order_key is not null
union all
select null, subscription_id, order_key from kept
where order_key is not null and status in ('parked', 'failed')

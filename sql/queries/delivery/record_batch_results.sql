-- One statement for the results of batches, each on all of its members. A result counts
-- only where the batch is still leased to this instance.
with result as materialized (
    -- As in record_results: of times the store's clock decides.
    select r.batch_id, r.status, r.parked_reason, r.http_status, r.error,
        clock_timestamp() + make_interval(secs => r.due_in) as due_at,
        case when r.status = 'delivered' then clock_timestamp() - make_interval(secs => r.ended_ago) end
            as delivered_at,
        clock_timestamp() - make_interval(secs => r.started_ago) as started_at,
        r.duration_ms, r.error_class, r.response_excerpt, r.content_type, r.response_headers,
        r.response_body, r.response_truncated, r.trigger, r.actor, r.subscription_version
    from unnest(
        $2::uuid[], $3::text[], $4::text[], $5::int2[], $6::text[], $7::float8[], $8::float8[],
        $9::float8[], $10::int4[], $11::text[], $12::text[], $13::text[], $14::jsonb[],
        $15::bytea[], $16::bool[], $17::int2[], $18::uuid[], $19::int4[]
    ) as r (batch_id, status, parked_reason, http_status, error, due_in, started_ago, ended_ago,
        duration_ms, error_class, response_excerpt, content_type, response_headers, response_body,
        response_truncated, trigger, actor, subscription_version)
),
ours as materialized (
    select r.*, s.subscription_id, r.status = 'delivered' as is_success
    from result r
    join delivery_schedule s on s.delivery_id = any (array[r.batch_id])
    where coalesce(s.lease_owner = $1, false)
    for update of s
),
recorded as (
    update webhook_deliveries d
    set status = case when o.status = 'parked' then 'pending' else o.status end,
        attempts = d.attempts + (o.started_at is not null)::integer,
        last_http_status = coalesce(o.http_status, d.last_http_status),
        last_error = case when o.status = 'delivered' then null else coalesce(o.error, d.last_error) end,
        next_attempt_at = case when o.status = 'pending' then o.due_at end,
        delivered_at = o.delivered_at,
        batch_id = o.batch_id,
        -- As in record_results: a first attempt that succeeds needs no row of its own.
        first_attempt_at = case when o.is_success and d.attempts = 0 then o.started_at
            else d.first_attempt_at end,
        first_duration_ms = case when o.is_success and d.attempts = 0 then o.duration_ms
            else d.first_duration_ms end,
        first_http_status = case when o.is_success and d.attempts = 0 then o.http_status
            else d.first_http_status end,
        first_response_excerpt = case when o.is_success and d.attempts = 0 then o.response_excerpt
            else d.first_response_excerpt end,
        first_content_type = case when o.is_success and d.attempts = 0 then o.content_type
            else d.first_content_type end,
        first_trigger = case when o.is_success and d.attempts = 0 then o.trigger
            else d.first_trigger end,
        first_actor = case when o.is_success and d.attempts = 0 then o.actor
            else d.first_actor end,
        first_subscription_version = case when o.is_success and d.attempts = 0
            then o.subscription_version else d.first_subscription_version end
    from unnest($20::uuid[], $21::uuid[]) as m (id, batch_id)
    join ours o on o.batch_id = m.batch_id
    where d.id = any (array[m.id]) and coalesce(d.status = 'pending', false)
    returning d.id, d.tenant_id, d.attempts, o.status, o.http_status, o.error, o.started_at,
        o.duration_ms, o.error_class, o.response_excerpt, o.content_type, o.response_headers,
        o.response_body, o.response_truncated, o.trigger, o.actor, o.subscription_version
),
freed as (
    delete from delivery_schedule s
    using recorded x
    where x.status in ('delivered', 'cancelled') and s.delivery_id = any (array[x.id])
),
-- Each a dead letter of its own, which by hand is sent alone.
dead as (
    update delivery_schedule s
    set status = 'failed', due_at = clock_timestamp(), tried = true, batch_id = null,
        body_bytes = null
    from recorded x
    where x.status = 'failed' and s.delivery_id = any (array[x.id])
),
ended as (
    delete from delivery_schedule s
    using ours o
    where o.status in ('delivered', 'cancelled', 'failed') and s.delivery_id = any (array[o.batch_id])
),
waiting as materialized (
    -- As in record_results: neither an enabling nor this overtakes the other.
    select o.*, o.parked_reason is not distinct from 'disabled' and not exists (
            select from webhook_subscriptions s
            where s.id = o.subscription_id and not s.active
            for share
        ) as enabled
    from ours o
    where o.status in ('pending', 'parked')
),
kept as (
    update delivery_schedule s
    set status = case when w.enabled then 'pending' else w.status end,
        parked_reason = case when not w.enabled then w.parked_reason end,
        due_at = coalesce(w.due_at, clock_timestamp()), lease_owner = null,
        tried = s.tried or w.started_at is not null,
        -- As in record_results.
        trigger = case when w.started_at is null then s.trigger end,
        actor = case when w.started_at is null then s.actor end
    from waiting w
    where s.delivery_id = any (array[w.batch_id])
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
    where started_at is not null and (status <> 'delivered' or attempts > 1)
    on conflict do nothing
)
select id from recorded

-- The common result of what was claimed, by itself: delivered, so that its row leaves the
-- schedule. It counts only where the delivery is still leased to this instance. The
-- schedule's rows are locked before the deliveries, in the order that is given, as by
-- those who retry by hand.
--
-- How few are leased, or pending, is hidden from the planner (coalesce): for as few as its
-- older statistics know it would begin with these, and walk all that there are. For the
-- joins by arrays see the sessions' settings.
with ended as (
    delete from delivery_schedule s
    using (
        -- As in record_results: of times the store's clock decides.
        select r.id, r.attempts, r.http_status,
            clock_timestamp() - make_interval(secs => r.started_ago) as started_at,
            clock_timestamp() - make_interval(secs => r.ended_ago) as delivered_at,
            r.duration_ms, r.response_excerpt, r.content_type, r.trigger, r.actor,
            r.subscription_version
        from unnest(
            $2::uuid[], $3::int4[], $4::int2[], $5::float8[], $6::float8[], $7::int4[], $8::text[],
            $9::text[], $10::int2[], $11::uuid[], $12::int4[]
        ) as r (id, attempts, http_status, started_ago, ended_ago, duration_ms, response_excerpt,
            content_type, trigger, actor, subscription_version)
    ) r
    where s.delivery_id = any (array[r.id]) and coalesce(s.lease_owner = $1, false)
    returning r.*, s.subscription_id, s.order_key
),
recorded as (
    update webhook_deliveries d
    set status = 'delivered',
        attempts = e.attempts,
        last_http_status = e.http_status,
        last_error = null,
        next_attempt_at = null,
        delivered_at = e.delivered_at,
        -- A first attempt that succeeds needs no row of its own.
        first_attempt_at = case when e.attempts = 1 then e.started_at else d.first_attempt_at end,
        first_duration_ms = case when e.attempts = 1 then e.duration_ms else d.first_duration_ms end,
        first_http_status = case when e.attempts = 1 then e.http_status else d.first_http_status end,
        first_response_excerpt =
            case when e.attempts = 1 then e.response_excerpt else d.first_response_excerpt end,
        first_content_type =
            case when e.attempts = 1 then e.content_type else d.first_content_type end,
        first_trigger = case when e.attempts = 1 then e.trigger else d.first_trigger end,
        first_actor = case when e.attempts = 1 then e.actor else d.first_actor end,
        first_subscription_version = case when e.attempts = 1 then e.subscription_version
            else d.first_subscription_version end
    from ended e
    where d.id = any (array[e.id]) and coalesce(d.status = 'pending', false)
    returning d.id, d.tenant_id, e.attempts, e.http_status, e.started_at, e.duration_ms,
        e.response_excerpt, e.content_type, e.trigger, e.actor, e.subscription_version
),
attempted as (
    insert into webhook_attempts
        (delivery_id, number, tenant_id, started_at, duration_ms, http_status, response_excerpt,
            content_type, trigger, actor, subscription_version)
    select id, attempts, tenant_id, started_at, duration_ms, http_status, response_excerpt,
        content_type, trigger, actor, subscription_version
    from recorded
    where attempts > 1
    on conflict do nothing
)
-- What was recorded, and the rows of which an ordered delivery has ended.
select id, null::uuid as subscription_id, null::int8 as order_key from recorded
union all
select null, subscription_id, order_key from ended where order_key is not null

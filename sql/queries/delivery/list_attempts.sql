-- The newest attempts before number $2, at most $3. A first one that succeeded stands on the
-- delivery itself. The URL is that of the time.
select a.*, v.url
from (
    select * from (
        (select d.subscription_id, w.number, w.started_at, w.duration_ms, w.http_status,
            w.error_class, w.error, w.response_excerpt, w.content_type, w.response_headers,
            w.response_body, w.response_truncated, w.trigger, w.actor, w.subscription_version
        from webhook_attempts w
        join webhook_deliveries d on d.id = w.delivery_id
        where w.delivery_id = $1 and w.number < $2
        order by w.number desc
        limit $3)
        union all
        (select subscription_id, 1, first_attempt_at, first_duration_ms, first_http_status, null,
            null, first_response_excerpt, first_content_type, null, null, null, first_trigger,
            first_actor, first_subscription_version
        from webhook_deliveries
        where id = $1 and first_attempt_at is not null and 1 < $2)
    ) every
    order by number desc
    limit $3
) a
left join subscription_versions v
    on v.subscription_id = a.subscription_id and v.version = a.subscription_version
order by a.number

-- Puts what is counted by $1 minutes, and from before $3, together by $2 minutes: the oldest $4
-- rows, of which an interval may have more.
with old as (
    delete from delivery_stats
    where ctid = any (array(
        select ctid from delivery_stats
        where minutes = $1
            and at < date_bin(make_interval(mins => $2), $3::timestamptz, '2000-01-01 00:00:00Z')
        order by at
        limit $4
    ))
    returning *
),
folded as (
    insert into delivery_stats as s
        (subscription_id, at, minutes, tenant_id, delivered, first_try, dead,
            failed_http_status, failed_timeout, failed_connect, failed_dns, failed_tls,
            failed_blocked, failed_response, failed_request, took_2ms, took_5ms, took_10ms,
            took_20ms, took_50ms, took_100ms, took_200ms, took_500ms, took_1s, took_2s, took_5s,
            took_10s, took_20s, took_30s, took_60s, took_longer)
    select subscription_id, date_bin(make_interval(mins => $2), at, '2000-01-01 00:00:00Z') as since, $2,
        min(tenant_id), sum(delivered), sum(first_try), sum(dead),
        sum(failed_http_status), sum(failed_timeout), sum(failed_connect), sum(failed_dns),
        sum(failed_tls), sum(failed_blocked), sum(failed_response), sum(failed_request),
        sum(took_2ms), sum(took_5ms), sum(took_10ms), sum(took_20ms), sum(took_50ms),
        sum(took_100ms), sum(took_200ms), sum(took_500ms), sum(took_1s), sum(took_2s), sum(took_5s),
        sum(took_10s), sum(took_20s), sum(took_30s), sum(took_60s), sum(took_longer)
    from old
    group by subscription_id, since
    order by subscription_id, since
    on conflict (subscription_id, at, minutes) do update
    set delivered = s.delivered + excluded.delivered, first_try = s.first_try + excluded.first_try,
        dead = s.dead + excluded.dead,
        failed_http_status = s.failed_http_status + excluded.failed_http_status,
        failed_timeout = s.failed_timeout + excluded.failed_timeout,
        failed_connect = s.failed_connect + excluded.failed_connect,
        failed_dns = s.failed_dns + excluded.failed_dns,
        failed_tls = s.failed_tls + excluded.failed_tls,
        failed_blocked = s.failed_blocked + excluded.failed_blocked,
        failed_response = s.failed_response + excluded.failed_response,
        failed_request = s.failed_request + excluded.failed_request,
        took_2ms = s.took_2ms + excluded.took_2ms, took_5ms = s.took_5ms + excluded.took_5ms,
        took_10ms = s.took_10ms + excluded.took_10ms, took_20ms = s.took_20ms + excluded.took_20ms,
        took_50ms = s.took_50ms + excluded.took_50ms,
        took_100ms = s.took_100ms + excluded.took_100ms,
        took_200ms = s.took_200ms + excluded.took_200ms,
        took_500ms = s.took_500ms + excluded.took_500ms, took_1s = s.took_1s + excluded.took_1s,
        took_2s = s.took_2s + excluded.took_2s, took_5s = s.took_5s + excluded.took_5s,
        took_10s = s.took_10s + excluded.took_10s, took_20s = s.took_20s + excluded.took_20s,
        took_30s = s.took_30s + excluded.took_30s, took_60s = s.took_60s + excluded.took_60s,
        took_longer = s.took_longer + excluded.took_longer
)
select from old

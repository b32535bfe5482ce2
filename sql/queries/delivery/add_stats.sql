-- Adds to what is counted of each minute. The rows come in one order, so that two that write
-- never wait for each other. Failures by class and durations come as one array each of all rows.
insert into delivery_stats as s
    (subscription_id, at, minutes, tenant_id, delivered, first_try, dead,
        failed_http_status, failed_timeout, failed_connect, failed_dns, failed_tls,
        failed_blocked, failed_response, failed_request, took_2ms, took_5ms, took_10ms,
        took_20ms, took_50ms, took_100ms, took_200ms, took_500ms, took_1s, took_2s, took_5s,
        took_10s, took_20s, took_30s, took_60s, took_longer)
select c.subscription_id, c.at, 1, c.tenant_id, c.delivered, c.first_try, c.dead,
    ($7::int4[])[c.n * 8 - 7], ($7::int4[])[c.n * 8 - 6], ($7::int4[])[c.n * 8 - 5],
    ($7::int4[])[c.n * 8 - 4], ($7::int4[])[c.n * 8 - 3], ($7::int4[])[c.n * 8 - 2],
    ($7::int4[])[c.n * 8 - 1], ($7::int4[])[c.n * 8], ($8::int4[])[c.n * 16 - 15],
    ($8::int4[])[c.n * 16 - 14], ($8::int4[])[c.n * 16 - 13], ($8::int4[])[c.n * 16 - 12],
    ($8::int4[])[c.n * 16 - 11], ($8::int4[])[c.n * 16 - 10], ($8::int4[])[c.n * 16 - 9],
    ($8::int4[])[c.n * 16 - 8], ($8::int4[])[c.n * 16 - 7], ($8::int4[])[c.n * 16 - 6],
    ($8::int4[])[c.n * 16 - 5], ($8::int4[])[c.n * 16 - 4], ($8::int4[])[c.n * 16 - 3],
    ($8::int4[])[c.n * 16 - 2], ($8::int4[])[c.n * 16 - 1], ($8::int4[])[c.n * 16]
from unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::int4[], $5::int4[], $6::int4[])
    with ordinality as c (subscription_id, at, tenant_id, delivered, first_try, dead, n)
-- Of one that was erased meanwhile nothing is written any more.
where exists (select from webhook_subscriptions w where w.id = any (array[c.subscription_id]))
    or exists (
        select from deleted_subscriptions d
        where d.subscription_id = any (array[c.subscription_id])
    )
order by c.subscription_id, c.at
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

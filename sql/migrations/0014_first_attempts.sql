-- A first attempt that succeeds, which is nearly every one, stands on its delivery: no
-- row of webhook_attempts, and no entry of its index, for what one row can hold.
alter table webhook_deliveries
    add column first_attempt_at timestamptz,
    add column first_duration_ms integer check (first_duration_ms >= 0),
    add column first_http_status smallint,
    add column first_response_excerpt text,
    add constraint first_attempt_has_duration
        check ((first_attempt_at is null) = (first_duration_ms is null));

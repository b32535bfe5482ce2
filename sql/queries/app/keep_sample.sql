insert into pipeline_samples
    (slot, lag_bytes, retained_bytes, lag_seconds, requests_under_way, breakers_open)
values ($1, $2, $3, $4, $5, $6)
on conflict do nothing

-- No row where it was paused or cancelled meanwhile: then nothing of the chunk may be written.
update backfills
set begun = true,
    cursor = coalesce($2, cursor),
    rows_read = rows_read + $3,
    events = events + $4,
    deliveries = deliveries + $5,
    parked = parked + $6,
    streamed = streamed + $7,
    status = case when $8 then 'done' else status end,
    finished_at = case when $8 then now() end,
    waiting = null,
    updated_at = now()
where id = $1 and status = 'running'
returning id

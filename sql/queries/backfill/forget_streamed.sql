-- What was noted for backfills that are over.
delete from backfill_streamed
using backfills
where backfill_streamed.backfill_id = backfills.id and backfills.finished_at is not null

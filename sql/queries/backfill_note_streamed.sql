-- Of backfills that are not over: a cancelled one leaves nothing behind.
insert into backfill_streamed (backfill_id, row_hash)
select noted.id, noted.row_hash
from unnest($1::uuid[], $2::bytea[]) as noted (id, row_hash)
join backfills on backfills.id = noted.id and backfills.finished_at is null
on conflict do nothing

-- Of backfills that are not over: a cancelled one leaves nothing behind. Answers those
-- that are, so that nothing more is noted for them.
with noted as (
    select * from unnest($1::uuid[], $2::bytea[]) as noted (id, row_hash)
), unfinished as (
    select id from backfills where id = any ($1) and finished_at is null
), written as (
    insert into backfill_streamed (backfill_id, row_hash)
    select noted.id, noted.row_hash from noted join unfinished using (id)
    on conflict do nothing
)
select distinct id from noted where id not in (select id from unfinished)

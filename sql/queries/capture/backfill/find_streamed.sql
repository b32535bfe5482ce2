select streamed.row_hash
from unnest($2::bytea[]) as asked (row_hash)
join backfill_streamed as streamed
    on streamed.backfill_id = $1 and streamed.row_hash = asked.row_hash

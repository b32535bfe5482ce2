select id, schema_name, table_name, key_columns, rules, subscription_id, from_lsn
from backfills
where slot = $1 and id = $2 and finished_at is null

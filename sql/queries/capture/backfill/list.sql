-- Those that have begun and are not over, or the given one.
select id, schema_name, table_name, key_columns, rules, subscription_id, from_lsn
from backfills
where slot = $1 and finished_at is null and case when $2::uuid is null then begun else id = $2 end

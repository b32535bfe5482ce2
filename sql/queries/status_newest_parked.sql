select
    commit_lsn,
    ordinal,
    rule,
    relation,
    reason,
    detail,
    row_key,
    row_bytes,
    extract(epoch from now() - parked_at)::float8 as age_seconds
from parked_changes
order by parked_at desc, commit_lsn desc, ordinal desc
limit 5

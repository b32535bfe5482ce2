delete from parked_changes
using unnest($1::pg_lsn[], $2::int8[], $3::text[]) as mended (commit_lsn, ordinal, rule)
where parked_changes.commit_lsn = mended.commit_lsn
    and parked_changes.ordinal = mended.ordinal
    and parked_changes.rule = mended.rule

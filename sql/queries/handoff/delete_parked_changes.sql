delete from parked_changes
using unnest($1::pg_lsn[], $2::int8[], $3::text[]) as unparked (commit_lsn, ordinal, rule)
where parked_changes.commit_lsn = unparked.commit_lsn
    and parked_changes.ordinal = unparked.ordinal
    and parked_changes.rule = unparked.rule

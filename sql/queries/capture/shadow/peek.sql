-- The progress and, as of it, these rows of the shadow: one statement, one snapshot.
select
    progress.commit_lsn, progress.ordinal, progress.complete, progress.acknowledged_lsn,
    found.table_oid, found.row_key, found.row_values
from replication_progress as progress
left join (
    select wanted.table_oid, row_key, row_shadow.row_values
    from unnest($2::int4[], $3::oid[], $4::bytea[]) as wanted (shadow_id, table_oid, row_key)
    join row_shadow using (shadow_id, row_key)
) as found on true
where progress.slot = $1

-- How the shadow's tables were defined when last looked at, and how far changes were mapped: one
-- snapshot.
select
    shadow_tables.id,
    shadow_tables.schema_name || '.' || shadow_tables.table_name as name,
    shadow_tables.table_oid,
    shadow_tables.definition,
    shadow_tables.seen_lsn,
    progress.commit_lsn
from shadow_tables
join replication_progress as progress using (slot)
where slot = $1

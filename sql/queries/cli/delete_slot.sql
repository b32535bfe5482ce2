-- The progress, and what stands nowhere in the WAL without it: the shadow and the accepted rules.
with progress as (
    delete from replication_progress where slot = $1
), accepted as (
    delete from accepted_rules where slot = $1
), rows as (
    delete from row_shadow
    using shadow_tables
    where shadow_tables.slot = $1 and shadow_tables.id = row_shadow.shadow_id
), rules as (
    delete from shadow_rules where slot = $1
)
delete from shadow_tables where slot = $1

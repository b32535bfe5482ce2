-- Behind a gap the shadow is not what the tables were: it is made anew. The rules stay
-- active, so that what they cannot decide meanwhile is parked.
with rows as (
    delete from row_shadow
    using shadow_tables
    where shadow_tables.slot = $1 and shadow_tables.id = row_shadow.shadow_id
)
update shadow_tables
set state = 'seeding', seeded_key = null, seeded_rows = 0, complete_at_lsn = null, updated_at = now()
where slot = $1

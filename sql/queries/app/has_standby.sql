-- Whether a standby follows by a slot, as one must that copies slots.
select exists (
    select from pg_catalog.pg_replication_slots where slot_type = 'physical' and active
)

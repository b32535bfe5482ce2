-- Whether a standby that is promoted can go on with the slot: settings of 17, null before.
select
    current_setting('synchronized_standby_slots', true) as synchronized,
    array(
        select trim(name)
        from string_to_table(current_setting('synchronized_standby_slots', true), ',') as name
        where trim(name) <> ''
            and not exists (select from pg_replication_slots where slot_name = trim(both ' "' from name))
    ) as missing,
    (select count(*) from pg_replication_slots where slot_type = 'physical' and active) as standbys

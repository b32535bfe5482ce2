-- The shadow: the last seen values of just the columns that rules need the old values
-- of, for tables whose log does not carry them. Written in the enqueue's transaction,
-- so that it always stands exactly where the progress does.

-- One watched table of one slot.
create table shadow_tables (
    id integer generated always as identity primary key,
    slot text not null,
    schema_name text not null,
    table_name text not null,
    -- Another table of the same name has another oid, and nothing in common.
    table_oid oid not null,
    -- The replica identity's columns, in the order of their names: what the log always has of a row.
    key_columns text[] not null check (cardinality(key_columns) > 0),
    -- What row_shadow.row_values holds, by place. Places are only ever added; '' is a place
    -- that is not used any more. A row with fewer does not know the later ones yet.
    columns text[] not null,
    -- As format_type writes them. With another type a column's text is another: it gets
    -- a new place.
    column_types text[] not null,
    state text not null default 'seeding' check (state in ('seeding', 'complete')),
    -- The key of the last row that was seeded; null: none yet.
    seeded_key text[],
    seeded_rows bigint not null default 0 check (seeded_rows >= 0),
    -- The commit at which the seed was complete.
    complete_at_lsn pg_lsn,
    updated_at timestamptz not null default now(),
    unique (slot, schema_name, table_name),
    constraint a_place_has_a_type check (cardinality(columns) = cardinality(column_types)),
    constraint complete_says_where check (state = 'seeding' or complete_at_lsn is not null),
    constraint complete_has_no_cursor check (state = 'seeding' or seeded_key is null)
);

create table row_shadow (
    shadow_id integer not null,
    row_key bytea not null,
    row_values bytea not null,
    primary key (shadow_id, row_key)
) with (fillfactor = 80);

-- The rules that read the shadow and have been told of a complete one. They stay active
-- when it must be seeded again: then a missing value is parked, not passed over.
create table shadow_rules (
    slot text not null,
    rule text not null,
    -- What the rule needed when it became active.
    columns text[] not null,
    active_from_lsn pg_lsn not null,
    primary key (slot, rule)
);

-- Backfills: rows that exist already, made into events while the stream goes on. The
-- cursor commits with the events of the rows that it has passed.
create table backfills (
    id uuid primary key,
    slot text not null,
    schema_name text not null,
    table_name text not null,
    -- The order in which the rows are read: a unique key that is never null.
    key_columns text[] not null check (cardinality(key_columns) > 0),
    -- The rules that the rows are held against, by name.
    rules text[] not null check (cardinality(rules) > 0),
    -- The operator's condition, in SQL.
    filter text,
    since timestamptz,
    since_column text,
    -- The highest key when it was asked for. Rows behind it came later, and the stream
    -- tells of them; null: there was no row.
    until_key text[],
    -- Only this one receives the events; null: every one that had begun at from_lsn.
    subscription_id uuid,
    from_lsn pg_lsn not null,
    rows_per_second integer not null check (rows_per_second > 0),
    chunk_rows integer not null check (chunk_rows > 0),
    status text not null default 'running'
        check (status in ('running', 'paused', 'done', 'cancelled', 'failed')),
    -- From here on it is noted what the stream makes of the table's rows: those events
    -- are not made a second time.
    begun boolean not null default false,
    -- The key of the last row that was taken; null: none yet.
    cursor text[],
    rows_read bigint not null default 0 check (rows_read >= 0),
    events bigint not null default 0 check (events >= 0),
    deliveries bigint not null default 0 check (deliveries >= 0),
    parked bigint not null default 0 check (parked >= 0),
    -- Events that the stream had made already.
    streamed bigint not null default 0 check (streamed >= 0),
    -- How many rows there are, as the planner guesses.
    estimate bigint not null check (estimate >= 0),
    -- What a running one waits for.
    waiting text,
    error text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    finished_at timestamptz,
    constraint since_names_a_column check ((since is null) = (since_column is null)),
    constraint failed_says_why check ((status = 'failed') = (error is not null)),
    constraint finished_says_when
        check ((status in ('done', 'cancelled')) = (finished_at is not null))
);
create index backfills_unfinished on backfills (slot, id) where finished_at is null;

-- What the stream has made of a table's rows since a backfill of it began: a hash of
-- rule and row each. Deleted when the backfill ends.
create table backfill_streamed (
    backfill_id uuid not null,
    row_hash bytea not null,
    primary key (backfill_id, row_hash)
);

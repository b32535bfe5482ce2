-- Gaps that capture goes on behind before anybody accepts them: a table that left the
-- publication for a while, log that was shed. What is still open walhook meets, and
-- names, again.
delete from gaps where accepted_at is null;

alter table gaps
    -- What happened, as the metrics name it.
    add column kind text not null default 'unknown',
    -- schema.table where the gap is one table's; null: it concerns all of them.
    add column table_name text,
    drop constraint accepted_says_where_it_ends,
    add constraint accepted_says_where_it_ends check (accepted_at is null or to_lsn is not null);

-- A state is named once, however often walhook meets it.
create unique index gaps_without_end on gaps (slot, kind, coalesce(table_name, ''))
    where to_lsn is null;

-- What the publication held of the watched tables when it was last looked at. A table
-- that was taken out and put back has another membership, a table or a publication that
-- was dropped and made again another oid; the log says nothing of either.
create table published_tables (
    slot text not null,
    -- schema.table
    table_name text not null,
    publication_oid oid not null,
    table_oid oid not null,
    -- pg_publication_rel; 0 where a whole schema or every table is published.
    member_oid oid not null,
    -- Found missing: its gap is open and has no end yet.
    missing boolean not null default false,
    -- A position of the log at which it was published.
    seen_lsn pg_lsn not null,
    primary key (slot, table_name)
);

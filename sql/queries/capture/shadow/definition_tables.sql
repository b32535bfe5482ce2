-- The tables and what they are partitioned into, one row each: where the rows are stored,
-- and since when each has belonged to the whole. No function is called that locks a table.
with recursive members as (
    select root.oid as root, root.oid as member, null::xid as attached
    from unnest($1::oid[]) as root (oid)
    union all
    select members.root, pg_inherits.inhrelid, pg_inherits.xmin
    from members
    join pg_class as parent on parent.oid = members.member and parent.relkind = 'p'
    join pg_inherits on pg_inherits.inhparent = members.member
)
select
    members.root,
    members.member,
    members.attached::text::bigint as attached,
    -- Another one where the rows were rewritten, for whatever reason.
    class.relfilenode as file,
    -- The places in the statement's text left out.
    coalesce(
        hashtextextended(regexp_replace(class.relpartbound::text, ':location -?[0-9]+', '', 'g'), 0),
        0
    ) as bound
from members
join pg_class as class on class.oid = members.member

do {dollar}
declare harmed text;
begin
    select string_agg(class.oid::regclass::text, ', ' order by class.oid) into harmed
    from unnest({tables}) as root (relid)
    cross join lateral (select root.relid union select relid from pg_partition_tree(root.relid)) as part
    join pg_class as class on class.oid = part.relid and class.relkind = 'r'
    where not case class.relreplident
        when 'f' then not exists (select from pg_attribute where attrelid = class.oid and attgenerated = 'v')
        when 'd' then exists (
            select from pg_index where indrelid = class.oid and indisprimary and indisvalid and indimmediate)
        when 'i' then exists (select from pg_index where indrelid = class.oid and indisreplident and indisvalid)
        else false end;
    if harmed is not null then
        raise exception 'UPDATE and DELETE would fail once these tables are published: %', harmed
            using hint = '`walhook check` has the SQL that gives them a replica identity.';
    end if;
end {dollar};

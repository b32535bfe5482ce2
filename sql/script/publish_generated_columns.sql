select {set}
    from pg_publication as publication
    where pubname = {publication} and to_jsonb(publication) ->> 'pubgencols' = 'n' and exists (
        select from unnest({tables}) as root (relid)
        cross join lateral (select root.relid union select relid from pg_partition_tree(root.relid)) as part
        join pg_class as class on class.oid = part.relid and class.relkind = 'r'
        join pg_attribute as attribute on attribute.attrelid = class.oid and attribute.attgenerated = 's'
        where class.relreplident = 'f' or exists (
            select from pg_index
            where indrelid = class.oid and attribute.attnum = any (indkey)
                and case class.relreplident when 'd' then indisprimary when 'i' then indisreplident else false end
        )
    ) \gexec

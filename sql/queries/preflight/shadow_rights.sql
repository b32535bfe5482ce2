-- Whether our role may read these columns of a table, and all of its rows.
select
    has_schema_privilege(relnamespace, 'usage') as may_use_schema,
    array(
        select name
        from unnest($2::text[]) as name
        where not has_column_privilege(pg_class.oid, name, 'select')
    ) as unreadable,
    row_security_active(pg_class.oid) as hidden_rows
from pg_class
where oid = $1

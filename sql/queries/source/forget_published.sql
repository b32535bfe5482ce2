-- Tables that no rule watches any more. What is on record is watched by the instances that
-- run: without $3 they keep it.
delete from published_tables
where slot = $1 and table_name <> all ($2)
    and ($3 or not exists (
        select from instances
        where 'capture' = any (roles) and heartbeat_at > clock_timestamp() - interval '6 s'
    ))

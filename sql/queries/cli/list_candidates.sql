-- Tables that a rule could watch, the largest first, with the planner's estimate of their rows
-- (-1: none yet). Left out are walhook's own and those of extensions.
select namespace.nspname::text as schema, class.relname::text as name, class.reltuples::bigint as estimate
from pg_class as class
join pg_namespace as namespace on namespace.oid = class.relnamespace
where class.relkind in ('r', 'p') and not class.relispartition and class.relpersistence = 'p'
    and namespace.nspname not in ('information_schema', 'walhook') and namespace.nspname not like 'pg\_%'
    and not exists (
        select from pg_depend
        where classid = 'pg_class'::regclass and objid = class.oid and deptype = 'e'
    )
order by class.reltuples desc, 1, 2
limit 200

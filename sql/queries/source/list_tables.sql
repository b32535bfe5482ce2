-- Every table that a rule could watch, to suggest the nearest name for a wrong one.
select namespace.nspname || '.' || class.relname
from pg_class as class
join pg_namespace as namespace on namespace.oid = class.relnamespace
where class.relkind in ('r', 'p') and not class.relispartition
    and namespace.nspname <> 'information_schema' and namespace.nspname not like 'pg\_%'
order by 1
limit 10000

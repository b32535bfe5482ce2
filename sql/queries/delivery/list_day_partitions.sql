select substring(child.relname from 'webhook_events_(\d{8})$')
from pg_inherits
join pg_class child on child.oid = inhrelid
where inhparent = 'webhook_events'::regclass
    and child.relname ~ '^webhook_events_\d{8}$'
order by 1

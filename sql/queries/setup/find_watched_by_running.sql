-- A running instance that captures keeps what it watches on record.
select p.table_name, i.hostname
from published_tables p
cross join instances i
where p.slot = $1 and p.table_name = any ($2) and not p.missing
    and 'capture' = any (i.roles) and i.heartbeat_at > clock_timestamp() - interval '6 s'
order by 1, 2
limit 1

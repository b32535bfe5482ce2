insert into rule_stats as s (slot, rule, hour, events, parked, last_event_at)
select $1, rule, hour, events, parked, last_event_at
from unnest($2::text[], $3::timestamptz[], $4::int8[], $5::int8[], $6::timestamptz[])
    as counted (rule, hour, events, parked, last_event_at)
order by rule, hour
on conflict (slot, rule, hour) do update
set events = s.events + excluded.events,
    parked = s.parked + excluded.parked,
    last_event_at = greatest(s.last_event_at, excluded.last_event_at)

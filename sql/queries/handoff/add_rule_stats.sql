insert into rule_stats as s (slot, rule, hour, events, parked, last_event_at)
select $1, rule, date_trunc('hour', now(), 'UTC'), events, parked, case when events > 0 then now() end
from unnest($2::text[], $3::int8[], $4::int8[]) as counted (rule, events, parked)
order by rule
on conflict (slot, rule, hour) do update
set events = s.events + excluded.events,
    parked = s.parked + excluded.parked,
    last_event_at = coalesce(excluded.last_event_at, s.last_event_at)

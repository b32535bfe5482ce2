-- Two of a row may end at once, on two nodes, where they were claimed before one came
-- to be ordered or was asked for by hand: whoever looks for the next second must see
-- what the first has done.
select pg_advisory_xact_lock(hashtextextended('walhook order ' || id, 0))
from (select distinct id from unnest($1::uuid[]) as s (id) order by id) locked

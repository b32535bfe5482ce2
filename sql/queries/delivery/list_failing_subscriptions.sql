-- For how many seconds each has done nothing but fail.
select id, extract(epoch from clock_timestamp() - failing_since)::float8
from webhook_subscriptions
where failing_since is not null and active

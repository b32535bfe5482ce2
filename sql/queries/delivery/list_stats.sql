-- By intervals of $4 minutes. Where less detail is kept, an interval begins with what it is part of.
select own.id as subscription_id,
    date_bin(make_interval(mins => $4), s.at, '2000-01-01 00:00:00Z') as at,
    sum(s.delivered) as delivered, sum(s.first_try) as first_try, sum(s.dead) as dead,
    sum_counts(s.failed)::int8[] as failed, sum_counts(s.latency)::int8[] as latency
from unnest($1::uuid[]) as own (id)
cross join lateral (
    select *
    from delivery_stats c
    where c.subscription_id = own.id and c.at >= $2 and c.at < $3
) s
group by 1, 2
order by 1, 2

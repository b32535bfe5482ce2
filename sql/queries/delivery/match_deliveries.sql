-- Which of these deliveries have $2 as the class of their last attempt's error, and $3 as the
-- key of their event's row, with or without the table before it.
select d.id
from unnest($1::uuid[]) as walked (id)
join webhook_deliveries d on d.id = any (array[walked.id])
where ($2::text is null or (
        select a.error_class from webhook_attempts a
        where a.delivery_id = any (array[d.id])
        order by a.number desc
        limit 1
    ) = $2)
    and ($3::text is null or exists (
        select from webhook_events e
        where e.id = any (array[d.event_id])
            and (e.row_key = $3 or substring(e.row_key from position(':' in e.row_key) + 1) = $3)
    ))

-- Once a minute at most. A row that is locked, as while its token makes another, is noted the next time.
update api_tokens set last_used_at = now(), last_used_from = $2
where id = (
    select id from api_tokens
    where id = $1 and (last_used_at is null or last_used_at <= now() - interval '1 minute')
    for no key update skip locked
)

-- Only of subscriptions for which it is news: the trigger and other instances see no change.
update webhook_subscriptions s
set unreadable_reason = news.reason
from (
    select known.id, found.reason
    from webhook_subscriptions known
    left join unnest($1::uuid[], $2::text[]) as found (id, reason) on found.id = known.id
    where found.reason is distinct from known.unreadable_reason
) news
where s.id = any (array[news.id])

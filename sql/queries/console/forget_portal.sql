-- Of what has ended thirty days ago nobody asks any more.
with links as (
    delete from portal_links where expires_at < now() - interval '30 days'
)
delete from portal_sessions where expires_at < now() - interval '30 days'

-- What ended thirty days ago is of no more use.
with links as (
    delete from portal_links where expires_at < now() - interval '30 days'
)
delete from portal_sessions where expires_at < now() - interval '30 days'

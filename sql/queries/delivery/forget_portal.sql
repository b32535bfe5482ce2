-- Links and sessions that ended thirty days ago are of no more use: until then they say why
-- somebody is not signed in.
with links as (
    delete from portal_links where expires_at < $1::timestamptz - interval '30 days'
)
delete from portal_sessions where expires_at < $1::timestamptz - interval '30 days'

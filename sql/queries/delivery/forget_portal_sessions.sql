-- Until then they say why somebody is not signed in.
delete from portal_sessions
where ctid = any (array(
    select ctid from portal_sessions
    where expires_at < $1::timestamptz - interval '30 days'
    limit $2
))

delete from probe_requests where subscription_id = any($1)

-- In one order, so that two requests for several never wait for each other.
insert into probe_requests (subscription_id, tenant_id)
select id, tenant_id from webhook_subscriptions where id = any($1) order by id
on conflict do nothing

-- Those that have had no event for a day, or are known by now.
delete from unknown_tenants u
where u.last_at < now() - interval '1 day'
    or exists (select from webhook_subscriptions s where s.tenant_id = u.tenant_id)
    or exists (select from api_tokens t where t.tenant_id = u.tenant_id)

select t.tenant_id, t.first_seen, t.name, t.erased_at,
    (select count(*) from webhook_subscriptions s where s.tenant_id = t.tenant_id) as subscriptions,
    (select count(*) from api_tokens k
        where k.tenant_id = t.tenant_id and k.revoked_at is null
            and (k.expires_at is null or k.expires_at > now())) as tokens
from tenants t
where t.tenant_id > $1
order by t.tenant_id
limit $2

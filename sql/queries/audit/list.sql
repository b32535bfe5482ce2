select id, at, principal_kind, principal, actor, tenant_id, action, object, before, after, reason,
    request_id, remote_ip
from audit_log
where tenant_id = current_tenant() and id < $1
    and ($2::text is null or action = $2)
    and ($3::text is null or object = $3)
order by id desc
limit $4

insert into audit_log
    (id, principal_kind, principal, actor, tenant_id, action, object, before, after, reason,
        request_id, remote_ip)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)

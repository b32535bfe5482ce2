select id, principal_kind, principal, actor from audit_log where id = any ($1)

-- That it was erased, by whom and why, stays.
delete from audit_log where tenant_id = $1 and action <> 'tenant.erase'

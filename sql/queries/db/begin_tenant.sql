-- Both settings end with the transaction: a plain SET would outlive it on a pooled connection.
select set_config('role', tenant_role, true), set_config('walhook.tenant', $1, true) from store

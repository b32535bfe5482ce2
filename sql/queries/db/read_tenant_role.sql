select tenant_role from store

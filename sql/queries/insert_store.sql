insert into store (schema_sha256, tenant_role) values ($1, $2)

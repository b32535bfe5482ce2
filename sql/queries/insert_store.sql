insert into store (schema_sha256) values ($1)

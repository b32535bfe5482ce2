select schema_sha256 from store

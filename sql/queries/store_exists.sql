select to_regclass(quote_ident($1) || '.refinery_schema_history') is not null

select
    to_regclass(quote_ident($1) || '.replication_progress') is not null
    and to_regclass(quote_ident($1) || '.webhook_subscriptions') is not null

-- As the watch has learned them since the session began.
select id, definition from shadow_tables where id = any ($1)

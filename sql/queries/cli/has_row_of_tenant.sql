-- How a row of the table spells the tenant, if one is the tenant's. The names and the text are
-- put in quoted. By itself first: of a type such as citext several spellings are equal.
select coalesce(
    (select {tenant}::text from {table} where {column} = {tenant} and {column}::text = {tenant} limit 1),
    (select {column}::text from {table} where {column} = {tenant} limit 1)
)

-- Whether a row of the table is the tenant's. The names and the text are put in quoted.
select exists (select from {table} where {column} = {tenant})

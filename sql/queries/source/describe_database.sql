-- What upper and lower case depend on. The provider's column came with 15.
select
    pg_encoding_to_char(encoding)::text as encoding,
    coalesce(to_jsonb(pg_database) ->> 'datlocprovider', 'c') as provider,
    (to_jsonb(pg_database) - 'datfrozenxid' - 'datminmxid' - 'datacl')::text as identity
from pg_database
where datname = current_database()

-- How many sessions this login may have at once in this database; null: no limit of its own.
select
    case when not role.rolsuper then nullif(role.rolconnlimit, -1) end as role_limit,
    case when not role.rolsuper then nullif(database.datconnlimit, -1) end as database_limit,
    current_setting('max_connections')::integer
        - current_setting('superuser_reserved_connections')::integer as server_limit,
    role.rolname as role,
    database.datname as database
from pg_roles role, pg_database database
where role.rolname = session_user and database.datname = current_database()

select source_system_identifier as system_identifier, source_database_oid as database_oid,
    source_database_name as database_name
from store
where source_system_identifier is not null

select table_name, publication_oid, table_oid, member_oid, missing, seen_lsn
from published_tables
where slot = $1

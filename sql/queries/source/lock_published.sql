-- No row: another instance has seen the change first.
select from published_tables
where slot = $1 and table_name = $2 and publication_oid = $3 and table_oid = $4
    and member_oid = $5 and missing = $6
for update

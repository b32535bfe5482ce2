-- Tables that no rule watches any more.
delete from published_tables where slot = $1 and table_name <> all ($2)

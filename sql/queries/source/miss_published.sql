update published_tables set missing = true where slot = $1 and table_name = $2

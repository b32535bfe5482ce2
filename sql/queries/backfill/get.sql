select * from backfills where slot = $1 and id = $2

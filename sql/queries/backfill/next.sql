-- One at a time, in the order in which they were asked for.
select * from backfills where slot = $1 and status = 'running' order by id limit 1

insert into instances (id, hostname, version, roles, low_water, process)
values ($1, $2, $3, $4, $5, $6)
returning clock_timestamp()

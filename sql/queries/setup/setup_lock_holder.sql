-- The session that holds the lock of try_lock_setup.sql. A key of 64 bits stands in two columns.
select pid
from pg_locks
where locktype = 'advisory'
    and database = (select oid from pg_database where datname = current_database())
    and classid = 0
    and objid = 7823724
    and objsubid = 1
    and granted

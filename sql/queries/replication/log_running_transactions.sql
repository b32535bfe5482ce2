-- To make a slot the server writes down which transactions are running; ours can begin
-- again only from such a record. A temporary one, gone with the statement. Where a
-- transaction has been open for long the statement waits, in vain, until its timeout: the
-- record is written all the same.
select pg_drop_replication_slot(made.slot_name)
from pg_create_logical_replication_slot($1, 'pgoutput', true) as made

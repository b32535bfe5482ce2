-- No row where another instance has raised the epoch: then nothing may be sent.
select (select generation from subscription_generation)
from replication_progress
where slot = $1 and epoch = $2

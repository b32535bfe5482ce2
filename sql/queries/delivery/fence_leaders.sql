-- A silent instance that leads the capture is fenced by its epoch: this waits for an
-- enqueue of its that is under way, and the next one touches no row. From then on what
-- it owns grows no more.
update replication_progress
set epoch = epoch + 1
where leader = any($1)

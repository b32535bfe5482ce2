-- The slot continues the progress after all, as where a wrong URL was corrected. What
-- only the stream shows is fixed when progress has come past it. Of a table's gap the
-- slot says nothing.
delete from gaps g
using replication_progress p
where g.slot = $1 and p.slot = g.slot and g.accepted_at is null and g.to_lsn is null
    and g.table_name is null
    and (not g.wedged or g.from_lsn < p.acknowledged_lsn)

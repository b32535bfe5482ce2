-- Changes nothing, and is a write all the same: it needs the store's disk, and the instance
-- not to be fenced.
update instances set low_water = low_water where id = $1 and fenced_at is null

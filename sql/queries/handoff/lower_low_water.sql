update instances set low_water = least(low_water, $2) where id = $1 and fenced_at is null

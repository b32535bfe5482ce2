select low_water from instances where fenced_at is null order by low_water limit 1

select low_water from instances where id = $1

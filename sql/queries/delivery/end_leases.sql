update delivery_schedule set lease_owner = null where lease_owner = $1

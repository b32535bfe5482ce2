update unknown_tenants set resembles = null where resembles = $1

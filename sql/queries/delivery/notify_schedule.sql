select pg_notify('walhook_schedule', $1)

select pg_advisory_unlock(7823724)

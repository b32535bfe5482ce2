-- Those of a tenant are created one after the other, so that they can be counted.
select pg_advisory_xact_lock(
    hashtextextended(current_schema() || ' tokens of ' || current_tenant(), 0))

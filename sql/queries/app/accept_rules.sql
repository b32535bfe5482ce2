insert into accepted_rules (slot, rule, definition)
select $1, rule, definition from unnest($2::text[], $3::bytea[]) as accepted (rule, definition)
on conflict (slot, rule) do update set definition = excluded.definition, accepted_at = now()

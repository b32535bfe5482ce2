insert into shadow_rules (slot, rule, columns, active_from_lsn)
values ($1, $2, $3, $4)
on conflict (slot, rule) do update set columns = excluded.columns, active_from_lsn = excluded.active_from_lsn

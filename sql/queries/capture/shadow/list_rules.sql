select rule, columns, active_from_lsn from shadow_rules where slot = $1 order by rule

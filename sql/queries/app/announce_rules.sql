update instances set rules_hash = $2, rules_loaded_at = now() where id = $1

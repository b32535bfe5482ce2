select rule, columns from shadow_rules where slot = $1

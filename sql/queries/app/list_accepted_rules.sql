select rule, definition from accepted_rules where slot = $1

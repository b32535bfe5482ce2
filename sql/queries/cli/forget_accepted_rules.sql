delete from accepted_rules where slot = $1

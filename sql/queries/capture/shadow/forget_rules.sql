-- Rules that do not use the shadow any more.
delete from shadow_rules where slot = $1 and rule <> all ($2::text[])

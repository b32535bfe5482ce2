select from instances where id = $1 and fenced_at is null for no key update

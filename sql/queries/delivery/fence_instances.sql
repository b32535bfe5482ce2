update instances set fenced_at = now() where id = any($1) and fenced_at is null returning id

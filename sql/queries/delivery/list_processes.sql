select id, process from instances where fenced_at is null and process is not null and id <> $1

select exists (select from parked_changes where retry_asked_at is not null)

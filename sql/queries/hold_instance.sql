-- Keeps the instance from being fenced until this transaction has ended.
select from instances where id = $1 and fenced_at is null for share

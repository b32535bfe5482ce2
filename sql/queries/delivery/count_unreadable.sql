-- Subscriptions that cannot be decrypted or read.
select count(*) from webhook_subscriptions where unreadable_reason is not null

-- Whatever changes a row gives it another xmin.
select id, xmin::text::bigint as row_version from webhook_subscriptions

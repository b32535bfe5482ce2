-- By hand, and so few: in general none.
select subscription_id from probe_requests

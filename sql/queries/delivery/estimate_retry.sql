-- What a bulk retry of this would find (lock_retryable.sql), also of what is being sent, whose
-- end decides.
with matching as materialized (
    select s.delivery_id,
        exists (select from webhook_subscriptions w where w.id = s.subscription_id and w.active) as active
    from delivery_schedule s
    where s.tenant_id = current_tenant()
        and s.status = any (case $1 when 'pending' then '{pending,open,batched}' else array[$1] end)
        and s.delivery_id >= $2 and s.delivery_id < $3
        and ($4::text is null or s.event_type = $4)
        and ($5::uuid is null or s.subscription_id = $5)
        and s.batch_id is distinct from s.delivery_id
)
select
    (select count(*) from matching where active) as matching,
    (select count(*) from matching where not active) as disabled,
    (select delivery_id from matching where active order by delivery_id limit 1) as oldest,
    array(select delivery_id from matching where active order by delivery_id desc limit 5) as sample

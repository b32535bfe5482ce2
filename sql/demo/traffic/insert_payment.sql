insert into payments (tenant_id, invoice_id, customer_email, amount, method, status)
values ($1, gen_random_uuid(), $2, $3::bigint / 100.0, $4, $5)
returning amount::text

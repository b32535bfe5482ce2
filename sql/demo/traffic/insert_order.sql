insert into sales_orders (tenant_id, order_number, total)
values ($1, 'SO-' || upper(left(md5(gen_random_uuid()::text), 10)), $2::bigint / 100.0)
returning order_number

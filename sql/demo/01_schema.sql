-- The sample application: the tables that config/events/{payments,leads,sales_orders}.toml
-- watch. Rows of all tenants share a table, and tenant_id says whose they are.
--
-- replica identity full lets the WAL carry a row's old values, which rules such as
-- became(status = 'succeeded') compare with.

create table payments (
    id uuid primary key default gen_random_uuid(),
    tenant_id text not null,
    invoice_id uuid,
    customer_email text,
    amount numeric(12, 2) not null check (amount > 0),
    currency text not null default 'EUR' check (currency ~ '^[A-Z]{3}$'),
    method text not null default 'card',
    status text not null default 'pending'
        check (status in ('pending', 'succeeded', 'failed', 'refunded')),
    failure_reason text,
    metadata jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
alter table payments replica identity full;

create table leads (
    id bigint generated always as identity primary key,
    tenant_id text not null,
    name text not null,
    email text not null,
    phone text,
    company text,
    source text not null default 'website',
    status text not null default 'new'
        check (status in ('new', 'qualified', 'converted', 'lost')),
    metadata jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
alter table leads replica identity full;

create table sales_orders (
    id bigint generated always as identity primary key,
    tenant_id text not null,
    order_number text not null,
    customer_id bigint,
    status text not null default 'draft'
        check (status in ('draft', 'confirmed', 'shipped', 'cancelled')),
    total numeric(12, 2) not null default 0 check (total >= 0),
    currency text not null default 'EUR' check (currency ~ '^[A-Z]{3}$'),
    cancel_reason text,
    metadata jsonb not null default '{}',
    ordered_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (tenant_id, order_number)
);
alter table sales_orders replica identity full;

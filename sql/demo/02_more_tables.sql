-- The tables of the event files that are ready to include: invoices, inventory,
-- purchase_orders, documents and errors.

create table invoices (
    id uuid primary key default gen_random_uuid(),
    tenant_id text not null,
    invoice_number text not null,
    customer_id bigint,
    sales_order_id bigint,
    amount_due numeric(12, 2) not null check (amount_due >= 0),
    amount_paid numeric(12, 2) not null default 0,
    currency text not null default 'EUR' check (currency ~ '^[A-Z]{3}$'),
    status text not null default 'draft'
        check (status in ('draft', 'sent', 'paid', 'overdue', 'cancelled')),
    due_on date,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (tenant_id, invoice_number)
);
alter table invoices replica identity full;

create table inventory (
    id bigint generated always as identity primary key,
    tenant_id text not null,
    sku text not null,
    warehouse text not null default 'main',
    on_hand integer not null check (on_hand >= 0),
    reserved integer not null default 0 check (reserved >= 0),
    -- null: nobody needs to be told.
    reorder_level integer,
    updated_at timestamptz not null default now(),
    unique (tenant_id, sku, warehouse)
);
alter table inventory replica identity full;

create table purchase_orders (
    id bigint generated always as identity primary key,
    tenant_id text not null,
    order_number text not null,
    supplier text not null,
    status text not null default 'open'
        check (status in ('open', 'received', 'cancelled')),
    total numeric(12, 2) not null default 0 check (total >= 0),
    currency text not null default 'EUR' check (currency ~ '^[A-Z]{3}$'),
    expected_on date,
    received_at timestamptz,
    created_at timestamptz not null default now(),
    unique (tenant_id, order_number)
);
alter table purchase_orders replica identity full;

create table documents (
    id uuid primary key default gen_random_uuid(),
    tenant_id text not null,
    title text not null,
    content text not null default '',
    content_type text not null default 'text/markdown',
    version integer not null default 1 check (version > 0),
    author text,
    updated_at timestamptz not null default now()
);
alter table documents replica identity full;

-- Insert-only: its default identity is enough.
create table errors (
    id bigint generated always as identity primary key,
    tenant_id text not null,
    severity text not null default 'error'
        check (severity in ('warning', 'error', 'fatal')),
    code text not null,
    message text not null,
    context jsonb not null default '{}',
    occurred_at timestamptz not null default now()
);

-- walhook's store. Runs with search_path set to the store's schema; names are
-- therefore unqualified. Every table of a tenant carries tenant_id and forces
-- row-level security: the owner's policy admits all, the role walhook_tenant
-- sees the rows of the tenant in the transaction's setting walhook.tenant.

do $$
begin
    if not exists (select from pg_roles where rolname = 'walhook_tenant') then
        create role walhook_tenant nologin;
    end if;
exception
    -- Another database of the cluster set itself up at the same moment.
    when duplicate_object or unique_violation then null;
end
$$;

-- The API switches to walhook_tenant, which takes membership of it.
do $$
begin
    if not pg_has_role(current_user, 'walhook_tenant', 'member') then
        execute format('grant walhook_tenant to %I', current_user);
    end if;
end
$$;

create function current_tenant() returns text
    language sql stable parallel safe
    -- After a transaction that set it the setting is '' and not null: fail closed on both.
    return nullif(current_setting('walhook.tenant', true), '');

create table webhook_subscriptions (
    id uuid primary key,
    tenant_id text not null check (tenant_id <> ''),
    url text not null check (url <> ''),
    events text[] not null check (cardinality(events) > 0),
    description text,
    filter text check (octet_length(filter) <= 1024),
    -- Custom headers, encrypted like the secret: they hold credentials. Null: none.
    headers bytea check (octet_length(headers) > 0),
    ordering text not null default 'none' check (ordering in ('none', 'row')),
    format text not null default 'standard' check (format in ('standard', 'cloudevents')),
    active boolean not null default true,
    -- The circuit breaker of the endpoint, written by the instance that sends to it.
    breaker text not null default 'closed' check (breaker in ('closed', 'open', 'half_open')),
    -- Who says so, while it is not closed.
    breaker_instance uuid,
    disabled_at timestamptz,
    disabled_reason text,
    -- All up to this change of the log was enqueued while it was active; what follows
    -- may not have been, and no time says so, as the log may lag.
    disabled_after_lsn pg_lsn,
    disabled_after_ordinal bigint,
    -- Encrypted under the key of security.encryption_key_file.
    secret bytea not null,
    secret_hint text not null,
    previous_secret bytea,
    previous_secret_expires_at timestamptz,
    -- Receives what committed at or after this position of the source.
    from_lsn pg_lsn not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint only_closed_breakers_are_nobodys
        check ((breaker_instance is null) = (breaker = 'closed')),
    constraint disabled_says_when_and_why
        check (active = (disabled_at is null) and active = (disabled_reason is null)),
    constraint previous_secret_expires
        check ((previous_secret is null) = (previous_secret_expires_at is null))
);
create index webhook_subscriptions_tenant on webhook_subscriptions (tenant_id, id desc);

-- Raised by every change of a subscription, in its transaction. An enqueue reads it
-- after the last change that it received, and so sees every subscription that a 201
-- was answered for before that change committed.
create table subscription_generation (
    only_row boolean primary key default true check (only_row),
    generation bigint not null
);
insert into subscription_generation (generation) values (1);

create function raise_subscription_generation() returns trigger
    language plpgsql security definer
as $$
begin
    execute format('update %I.subscription_generation set generation = generation + 1', tg_table_schema);
    perform pg_notify('walhook_subscriptions', tg_table_schema);
    return null;
end
$$;
create trigger raise_subscription_generation
    after insert or delete
        or update of tenant_id, url, events, filter, headers, format, active, secret,
            previous_secret, previous_secret_expires_at, from_lsn
    on webhook_subscriptions
    for each statement execute function raise_subscription_generation();

-- Whoever disables a subscription, the tenant's role among them, notes the progress.
-- Read inside that transaction it may be too low by what is enqueued meanwhile, and
-- never too high. A store has one slot in use; others are remains of former ones.
create function note_progress() returns trigger
    language plpgsql security definer
as $$
begin
    execute format('select commit_lsn, ordinal from %I.replication_progress order by updated_at desc limit 1',
        tg_table_schema)
        into new.disabled_after_lsn, new.disabled_after_ordinal;
    return new;
end
$$;
create trigger note_progress
    before update of active on webhook_subscriptions
    for each row when (old.active and not new.active)
    execute function note_progress();

-- Partitioned by day on the id, whose first 48 bits are the commit's milliseconds.
-- No default partition: it would block creating the day. The partitions are made by
-- create_day_partitions.
create table webhook_events (
    id uuid primary key,
    tenant_id text not null,
    event_type text not null,
    rule text not null,
    commit_lsn pg_lsn not null,
    ordinal bigint not null check (ordinal >= 0),
    rule_index smallint not null check (rule_index >= 0),
    row_key text not null,
    occurred_at timestamptz not null,
    -- The exact bytes that are signed and sent: never jsonb, which reorders keys.
    body bytea not null
) partition by range (id);
create index webhook_events_tenant on webhook_events (tenant_id, id desc);

-- One for each event and subscription. No index and no index predicate names the
-- status, so that recording a result is a HOT update.
create table webhook_deliveries (
    id uuid primary key,
    event_id uuid not null,
    subscription_id uuid not null,
    tenant_id text not null,
    event_type text not null,
    format text not null check (format in ('standard', 'cloudevents')),
    status text not null default 'pending'
        check (status in ('pending', 'delivered', 'failed', 'cancelled')),
    attempts integer not null default 0 check (attempts >= 0),
    last_http_status smallint,
    last_error text,
    next_attempt_at timestamptz,
    -- The instance that holds the delivery in memory; results of others are refused.
    owner uuid,
    replay_id uuid,
    commit_lsn pg_lsn not null,
    ordinal bigint not null,
    rule_index smallint not null,
    row_key text not null,
    created_at timestamptz not null default now(),
    delivered_at timestamptz,
    constraint only_pending_is_owned check (owner is null or status = 'pending'),
    constraint only_pending_is_due check (next_attempt_at is null or status = 'pending'),
    constraint delivered_says_when check ((status = 'delivered') = (delivered_at is not null)),
    constraint delivered_was_attempted check (status <> 'delivered' or attempts > 0)
) partition by range (id);
create index webhook_deliveries_tenant on webhook_deliveries (tenant_id, id desc);
create index webhook_deliveries_subscription on webhook_deliveries (subscription_id, id desc);

-- What waits: retries, parked, failed, overflowed and handed-over deliveries. Narrow,
-- and left on success, so that lists by status and the claim never walk successes.
create table delivery_schedule (
    delivery_id uuid primary key,
    subscription_id uuid not null,
    tenant_id text not null,
    event_type text not null,
    status text not null check (status in ('pending', 'parked', 'failed')),
    -- Why it is parked: 'disabled' or 'oversized'.
    parked_reason text check (parked_reason in ('disabled', 'oversized')),
    -- When to claim it; while claimed, when the lease ends and it may be claimed again.
    due_at timestamptz not null,
    lease_owner uuid,
    constraint only_parked_says_why check ((status = 'parked') = (parked_reason is not null)),
    constraint only_pending_is_leased check (lease_owner is null or status = 'pending')
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
create index delivery_schedule_due on delivery_schedule (due_at) where status = 'pending';
create index delivery_schedule_tenant on delivery_schedule (tenant_id, status, delivery_id desc);
create index delivery_schedule_subscription on delivery_schedule (subscription_id, status);

-- Append-only; shares its delivery's partition day.
create table webhook_attempts (
    delivery_id uuid not null,
    number integer not null check (number > 0),
    tenant_id text not null,
    started_at timestamptz not null,
    duration_ms integer not null check (duration_ms >= 0),
    http_status smallint,
    -- null on success, else: http_status, timeout, connect, dns, tls, blocked, response, cancelled, request
    error_class text,
    error text,
    response_excerpt text,
    primary key (delivery_id, number)
) partition by range (delivery_id);

-- How far the log is durable in the store. Committed with what it speaks of, and
-- before anything is acknowledged to the slot.
create table replication_progress (
    slot text primary key,
    system_identifier text not null,
    timeline integer not null check (timeline > 0),
    -- Resume: skip smaller commit LSNs; at an equal, incomplete one, ordinals up to this.
    commit_lsn pg_lsn not null,
    ordinal bigint not null,
    complete boolean not null,
    acknowledged_lsn pg_lsn not null,
    -- Raised by whoever takes the slot; a write under an older epoch touches no row.
    epoch bigint not null default 0,
    leader uuid,
    leader_backend_pid integer,
    leader_backend_start timestamptz,
    updated_at timestamptz not null default now()
);

-- What was committed to the log and can never be enqueued: from from_lsn, where progress
-- stood, to to_lsn, where capture went on. Written by whoever meets the gap, and again
-- when the operator accepts it. Of the source, not of a tenant.
create table gaps (
    id bigint generated always as identity primary key,
    slot text not null,
    from_lsn pg_lsn not null,
    to_lsn pg_lsn,
    reason text not null,
    -- The slot and the catalog look well: only the stream shows that it cannot go on.
    wedged boolean not null default false,
    detected_at timestamptz not null default now(),
    accepted_at timestamptz,
    constraint accepted_says_where_it_ends check ((accepted_at is null) = (to_lsn is null))
);

create table instances (
    id uuid primary key,
    hostname text not null,
    version text not null,
    roles text[] not null,
    started_at timestamptz not null default now(),
    heartbeat_at timestamptz not null default now(),
    -- At or below the id of every delivery that the instance owns and has not recorded.
    low_water uuid not null,
    fenced_at timestamptz
);

create table api_tokens (
    id uuid primary key,
    tenant_id text not null check (tenant_id <> ''),
    name text not null,
    -- SHA-256 of the token; the token itself is shown once and kept nowhere.
    hash bytea not null unique check (octet_length(hash) = 32),
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz
);

create table idempotency_keys (
    tenant_id text not null,
    key text not null check (octet_length(key) between 1 and 255),
    request_hash bytea not null,
    -- Encrypted: the answer to a creation holds the secret.
    response bytea not null,
    http_status smallint not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, key)
);

-- Changes that matched a rule and cannot be sent to anybody. Values are not copied.
create table parked_changes (
    commit_lsn pg_lsn not null,
    ordinal bigint not null,
    rule text not null,
    relation text not null,
    reason text not null check (reason in ('unroutable', 'unmappable', 'undecodable')),
    detail text not null,
    parked_at timestamptz not null default now(),
    primary key (commit_lsn, ordinal, rule)
);

do $$
declare
    name text;
begin
    foreach name in array array['webhook_subscriptions', 'webhook_events', 'webhook_deliveries',
        'delivery_schedule', 'webhook_attempts', 'idempotency_keys']
    loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy owner_sees_all on %I to %I using (true) with check (true)',
            name, current_user);
        execute format('create policy tenant_sees_own on %I to walhook_tenant '
            'using (tenant_id = current_tenant()) with check (tenant_id = current_tenant())', name);
    end loop;
    execute format('grant usage on schema %I to walhook_tenant', current_schema());
end
$$;

grant select, insert, update, delete on webhook_subscriptions, idempotency_keys to walhook_tenant;
grant select on webhook_events, webhook_attempts to walhook_tenant;
grant select, insert, update, delete on delivery_schedule to walhook_tenant;
grant select, insert, update on webhook_deliveries to walhook_tenant;
-- Pings and replays are events and deliveries that the API writes.
grant insert on webhook_events to walhook_tenant;

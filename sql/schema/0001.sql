-- walhook's store, whole. Applied once, in one transaction, with the search_path set to
-- the store's schema and pg_temp: names are therefore unqualified. `:"tenant_role"` stands
-- for the role that the API's queries run as.
--
-- A store keeps the SHA-256 of this file, and a binary with another file refuses it.
--
-- Every table of a tenant carries tenant_id and forces row-level security: the owner's
-- policy admits all rows, the tenant role sees those of the tenant that the transaction
-- has set as walhook.tenant.

grant usage on schema :"schema" to :"tenant_role";

-- What the store knows of itself.
create table store (
    only_row boolean primary key default true check (only_row),
    -- SHA-256 of the file that made it.
    schema_sha256 bytea not null check (octet_length(schema_sha256) = 32),
    -- The role that the API's queries run as: the installation's own. A store that is restored
    -- under another name keeps it.
    tenant_role text not null check (tenant_role <> ''),
    -- Where it is kept: the server, its database and this very table. A copy of the store is
    -- elsewhere, and sends nothing until it is adopted.
    system_identifier text not null,
    timeline integer not null check (timeline > 0),
    database_oid oid not null,
    database_name text not null,
    table_oid oid not null,
    -- Since when it is what was made by setup, or adopted.
    identified_at timestamptz not null default now(),
    -- An instance found that the store lacks what it had committed: the server was failed
    -- over, or restored, to a state from before. Nothing is sent until the store is adopted.
    branched_at timestamptz,
    -- The key of all that is encrypted in it, by its id and by what it made of a fixed text.
    encryption_key_id bytea check (octet_length(encryption_key_id) = 8),
    encryption_key_check bytea,
    -- The source that the slot is on, as setup found it.
    source_system_identifier text,
    source_timeline integer check (source_timeline > 0),
    source_database_oid oid,
    source_database_name text,
    source_slot text,
    constraint keys_have_a_check_value
        check ((encryption_key_id is null) = (encryption_key_check is null)),
    constraint sources_are_whole
        check (num_nulls(source_system_identifier, source_timeline, source_database_oid,
            source_database_name, source_slot) in (0, 5))
);

create function current_tenant() returns text
    language sql stable parallel safe
    -- After a transaction that set it the setting is '' and not null: fail closed on both.
    return nullif(current_setting('walhook.tenant', true), '');
revoke execute on function current_tenant() from public;
grant execute on function current_tenant() to :"tenant_role";

-- Who changed what: written in the transaction of the change, and never changed afterwards. Its
-- rows are deleted by store.audit_retention alone, and, but for the entry that tells of it, by
-- the erasure of their tenant. Holds no secrets.
create table audit_log (
    -- Roughly in the order of time.
    id uuid primary key,
    at timestamptz not null default clock_timestamp(),
    principal_kind text not null
        check (principal_kind in ('token', 'jwt', 'portal', 'operator', 'command', 'walhook')),
    -- Which of that kind: a token's id, a JWT's `sub`, a system user.
    principal text not null,
    -- What people call it, or on whose behalf it acts.
    actor text,
    -- Null: it concerns none, or all of them.
    tenant_id text check (tenant_id <> ''),
    -- As in subscription.update.
    action text not null check (action <> ''),
    -- What was changed, by its id.
    object text,
    -- What was there before and is there since, of what was changed.
    before jsonb,
    after jsonb,
    reason text,
    request_id text,
    remote_ip inet
);
create index audit_log_tenant on audit_log (tenant_id, id desc);
-- For what is past its retention.
create index audit_log_at on audit_log (at);
alter table audit_log enable row level security;
alter table audit_log force row level security;
create policy owner_sees_all on audit_log to current_user
    using (true) with check (true);
create policy tenant_sees_own on audit_log to :"tenant_role"
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
grant select, insert on audit_log to :"tenant_role";
-- The owner, too, only ever adds and forgets.
create function refuse_update() returns trigger
    language plpgsql
as $$
begin
    raise exception 'rows of % are never changed', tg_table_name using errcode = '42501';
end
$$;
revoke execute on function refuse_update() from public;
create trigger refuse_update before update on audit_log
    for each statement execute function refuse_update();

-- Raised by every change of a subscription, in its transaction. An enqueue reads it
-- after the last change that it received, and so sees every subscription that a 201
-- was answered for before that change committed.
create table subscription_generation (
    only_row boolean primary key default true check (only_row),
    generation bigint not null
);
insert into subscription_generation (generation) values (1);

create table webhook_subscriptions (
    id uuid primary key,
    tenant_id text not null check (tenant_id <> ''),
    url text not null check (url <> ''),
    events text[] not null check (cardinality(events) > 0),
    description text,
    filter text check (octet_length(filter) <= 1024),
    -- Why the filter could not be evaluated, the last time, when that was, and on how many
    -- events since it was set: they were not sent.
    filter_error text,
    filter_failed_at timestamptz,
    filter_failures bigint not null default 0,
    -- Custom headers, encrypted like the secret: they hold credentials. Null: none.
    headers bytea check (octet_length(headers) > 0),
    ordering text not null default 'none' check (ordering in ('none', 'row')),
    -- A subscription that became ordered has deliveries from before in memory and, without
    -- a place, in the schedule. It is settled when each has ended or got its place; until
    -- then all that is ordered is held.
    ordering_settled boolean not null default true,
    ordering_changed_at timestamptz,
    format text not null default 'standard' check (format in ('standard', 'cloudevents')),
    -- Attempts in a second that the tenant wants its endpoint to get at most.
    rate_limit integer check (rate_limit between 1 and 10000),
    -- All three limits, or none: then each event is sent by itself.
    batch_max_events integer check (batch_max_events between 1 and 1000),
    batch_max_bytes integer check (batch_max_bytes between 1024 and 1048576),
    batch_max_wait_ms integer check (batch_max_wait_ms between 0 and 60000),
    active boolean not null default true,
    -- The circuit breaker of the endpoint, written by the instance that sends to it.
    breaker text not null default 'closed' check (breaker in ('closed', 'open', 'half_open')),
    -- The instance that wrote it, while it is not closed.
    breaker_instance uuid,
    -- The first failed attempt after the endpoint's last success. The subscription is
    -- disabled when that is delivery.disable_after ago.
    failing_since timestamptz,
    -- Of that attempt: its class, and what was wrong.
    failing_reason text,
    disabled_at timestamptz,
    disabled_reason text,
    -- Every change up to this one was enqueued while the subscription was active; what follows
    -- may not have been, and no time says so, as capture may lag.
    disabled_after_lsn pg_lsn,
    disabled_after_ordinal bigint,
    -- False since it was disabled or enabled, until all that waits for it is parked, or due
    -- again. Until then nothing is claimed of an ordered one: of a row's deliveries a later one
    -- may be due and an earlier one still parked.
    deliveries_settled boolean not null default true,
    -- Why an instance cannot send to it: what it needs of this row does not open, or is not
    -- what walhook writes. Its deliveries wait.
    unreadable_reason text,
    -- Encrypted under the key of security.encryption_key_file, as are those before it, which
    -- sign until each of them expires; oldest first.
    secret bytea not null,
    secret_hint text not null,
    previous_secrets bytea[] not null default '{}',
    previous_secrets_expire_at timestamptz[] not null default '{}',
    -- Likewise the ed25519 key that signs beside the secret; null: none does. Its public key
    -- is no secret.
    signing_key bytea,
    public_key text,
    previous_signing_keys bytea[] not null default '{}',
    previous_signing_keys_expire_at timestamptz[] not null default '{}',
    -- Receives what committed at or after this position of the source.
    from_lsn pg_lsn not null,
    -- Of its settings, as subscription_versions has them.
    version integer not null default 1 check (version > 0),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint only_closed_breakers_are_nobodys
        check ((breaker_instance is null) = (breaker = 'closed')),
    constraint failed_filters_say_when_and_why
        check ((filter_error is null) = (filter_failures = 0)
            and (filter_failed_at is null) = (filter_failures = 0)),
    constraint only_failing_says_why check (failing_since is not null or failing_reason is null),
    constraint disabled_says_when_and_why
        check (active = (disabled_at is null) and active = (disabled_reason is null)),
    -- Each of them makes the signature's header longer.
    constraint previous_secrets_expire
        check (cardinality(previous_secrets) = cardinality(previous_secrets_expire_at)
            and cardinality(previous_secrets) <= 10),
    constraint signing_keys_have_public_keys
        check ((signing_key is null) = (public_key is null)),
    constraint previous_signing_keys_expire
        check (cardinality(previous_signing_keys) = cardinality(previous_signing_keys_expire_at)
            and cardinality(previous_signing_keys) <= 10
            and (signing_key is not null or cardinality(previous_signing_keys) = 0)),
    constraint unsettled_says_since_when
        check (ordering_settled or ordering_changed_at is not null),
    constraint batches_have_all_limits
        check (num_nulls(batch_max_events, batch_max_bytes, batch_max_wait_ms) in (0, 3))
);
create index webhook_subscriptions_tenant on webhook_subscriptions (tenant_id, id desc);
-- What is wrong is read every few seconds, and concerns few of them.
create index webhook_subscriptions_failing on webhook_subscriptions (failing_since)
    where failing_since is not null;
create index webhook_subscriptions_filter_failed on webhook_subscriptions (filter_failed_at)
    where filter_failed_at is not null;

-- A trigger's function that runs with the owner's rights finds its tables in the store's
-- schema, whatever table fires it and whatever search_path that session has.
create function raise_subscription_generation() returns trigger
    language plpgsql security definer set search_path from current
as $$
begin
    update subscription_generation set generation = generation + 1;
    perform pg_notify('walhook_subscriptions', current_schema());
    return null;
end
$$;
revoke execute on function raise_subscription_generation() from public;
create trigger raise_subscription_generation
    after insert or delete
        or update of tenant_id, url, events, filter, headers, ordering, format, rate_limit,
            batch_max_events, batch_max_bytes, batch_max_wait_ms, active, secret,
            previous_secrets, previous_secrets_expire_at, signing_key, previous_signing_keys,
            previous_signing_keys_expire_at, from_lsn
    on webhook_subscriptions
    for each statement execute function raise_subscription_generation();
-- Beside the other, which every change by the API fires.
create trigger raise_subscription_generation_when_settled
    after update of ordering_settled on webhook_subscriptions
    for each statement execute function raise_subscription_generation();

-- A subscription's settings, each time they changed: what an attempt was made with stays
-- known. Deleted with the subscription's last delivery.
create table subscription_versions (
    subscription_id uuid not null,
    version integer not null check (version > 0),
    tenant_id text not null check (tenant_id <> ''),
    url text not null,
    events text[] not null,
    filter text,
    -- Encrypted, as those of the subscription.
    headers bytea,
    format text not null,
    ordering text not null,
    batch_max_events integer,
    batch_max_bytes integer,
    batch_max_wait_ms integer,
    rate_limit integer,
    changed_at timestamptz not null default now(),
    -- The entry of the audit log that says who changed it; null: no call did.
    changed_by uuid,
    primary key (subscription_id, version)
);
alter table subscription_versions enable row level security;
alter table subscription_versions force row level security;
create policy owner_sees_all on subscription_versions to current_user
    using (true) with check (true);
create policy tenant_sees_own on subscription_versions to :"tenant_role"
    using (tenant_id = current_tenant());
grant select on subscription_versions to :"tenant_role";

create function number_subscription_version() returns trigger
    language plpgsql
as $$
begin
    -- `walhook rotate-key` writes the same headers, encrypted with another key.
    if current_setting('walhook.encrypts_again', true) is distinct from 'on' then
        new.version = old.version + 1;
    end if;
    return new;
end
$$;
revoke execute on function number_subscription_version() from public;
grant execute on function number_subscription_version() to :"tenant_role";
create trigger number_subscription_version
    before update of url, events, filter, headers, format, ordering, batch_max_events,
        batch_max_bytes, batch_max_wait_ms, rate_limit
    on webhook_subscriptions
    for each row when (
        (old.url, old.events, old.filter, old.headers, old.format, old.ordering,
            old.batch_max_events, old.batch_max_bytes, old.batch_max_wait_ms, old.rate_limit)
        is distinct from
        (new.url, new.events, new.filter, new.headers, new.format, new.ordering,
            new.batch_max_events, new.batch_max_bytes, new.batch_max_wait_ms, new.rate_limit))
    execute function number_subscription_version();

-- Also where the tenant role writes the subscription, which may not write versions.
create function keep_subscription_version() returns trigger
    language plpgsql security definer set search_path from current
as $$
begin
    insert into subscription_versions
        (subscription_id, version, tenant_id, url, events, filter, headers, format, ordering,
            batch_max_events, batch_max_bytes, batch_max_wait_ms, rate_limit, changed_by)
    values (new.id, new.version, new.tenant_id, new.url, new.events, new.filter, new.headers,
        new.format, new.ordering, new.batch_max_events, new.batch_max_bytes,
        new.batch_max_wait_ms, new.rate_limit,
        nullif(current_setting('walhook.audit_entry', true), '')::uuid);
    return null;
end
$$;
revoke execute on function keep_subscription_version() from public;
create trigger keep_first_subscription_version after insert on webhook_subscriptions
    for each row execute function keep_subscription_version();
create trigger keep_subscription_version after update on webhook_subscriptions
    for each row when (old.version is distinct from new.version)
    execute function keep_subscription_version();

-- Notes the progress when a subscription is disabled, also by the tenant role. Read inside
-- that transaction it may be too low by what is enqueued meanwhile, and never too high. A
-- store has one slot in use; others are remains of former ones.
create function note_progress() returns trigger
    language plpgsql security definer set search_path from current
as $$
begin
    select commit_lsn, ordinal from replication_progress order by updated_at desc limit 1
        into new.disabled_after_lsn, new.disabled_after_ordinal;
    return new;
end
$$;
revoke execute on function note_progress() from public;
create trigger note_progress
    before update of active on webhook_subscriptions
    for each row when (old.active and not new.active)
    execute function note_progress();

create function unsettle_deliveries() returns trigger
    language plpgsql
as $$
begin
    new.deliveries_settled = false;
    return new;
end
$$;
revoke execute on function unsettle_deliveries() from public;
grant execute on function unsettle_deliveries() to :"tenant_role";
create trigger unsettle_deliveries
    before update of active on webhook_subscriptions
    for each row when (old.active is distinct from new.active)
    execute function unsettle_deliveries();
create index webhook_subscriptions_unsettled on webhook_subscriptions (id)
    where not deliveries_settled;

-- Also where the tenant role deletes it.
create function remember_deleted_subscription() returns trigger
    language plpgsql security definer set search_path from current
as $$
begin
    insert into deleted_subscriptions (subscription_id, tenant_id) values (old.id, old.tenant_id);
    return null;
end
$$;
revoke execute on function remember_deleted_subscription() from public;
create trigger remember_deleted_subscription after delete on webhook_subscriptions
    for each row execute function remember_deleted_subscription();

alter table webhook_subscriptions enable row level security;
alter table webhook_subscriptions force row level security;
create policy owner_sees_all on webhook_subscriptions to current_user
    using (true) with check (true);
create policy tenant_sees_own on webhook_subscriptions to :"tenant_role"
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
grant select, insert, update, delete on webhook_subscriptions to :"tenant_role";

-- A tenant's deliveries are listed by its subscriptions, of each the newest, so that every
-- delivery is written with one index entry less: each costs the enqueue a sixth. What was
-- sent to a subscription that is deleted stays listed: it is remembered for as long.
create table deleted_subscriptions (
    subscription_id uuid primary key,
    tenant_id text not null,
    deleted_at timestamptz not null default now()
);
create index deleted_subscriptions_tenant on deleted_subscriptions (tenant_id);
alter table deleted_subscriptions enable row level security;
alter table deleted_subscriptions force row level security;
create policy owner_sees_all on deleted_subscriptions to current_user
    using (true) with check (true);
create policy tenant_sees_own on deleted_subscriptions to :"tenant_role"
    using (tenant_id = current_tenant());
grant select on deleted_subscriptions to :"tenant_role";

-- Partitioned by day on the id, whose first 48 bits are the commit's milliseconds.
-- No default partition: it would block creating the day. The partitions are made as
-- their days come.
create table webhook_events (
    id uuid primary key,
    tenant_id text not null,
    event_type text not null,
    -- Empty: it tests an endpoint, and nothing of the kind happened.
    rule text not null,
    commit_lsn pg_lsn not null,
    ordinal bigint not null check (ordinal >= 0),
    rule_index smallint not null check (rule_index >= 0),
    row_key text not null,
    occurred_at timestamptz not null,
    -- The exact bytes that are signed and sent: never jsonb, which reorders keys.
    body bytea not null,
    -- A tenant's events are found by its deliveries, so that an event is written with one
    -- index entry less: only those without a subscriber have one of their own.
    has_deliveries boolean not null default false
) partition by range (id);
create index webhook_events_undelivered on webhook_events (tenant_id, id desc)
    where not has_deliveries;
alter table webhook_events enable row level security;
alter table webhook_events force row level security;
create policy owner_sees_all on webhook_events to current_user
    using (true) with check (true);
-- A planner that knows how few rows are a tenant's takes the subscription's for as few again,
-- and sorts all of them where it should walk the index; and where the tenant is newer than
-- its statistics it reads all of the tenant's for each row that it should find by its key. Of
-- this form it knows nothing. A query that wants a tenant's rows by the index says so itself.
create policy tenant_sees_own on webhook_events to :"tenant_role"
    using (coalesce(tenant_id = current_tenant(), false))
    with check (tenant_id = current_tenant());
-- Pings are events that the API writes.
grant select, insert on webhook_events to :"tenant_role";

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
    -- The batch that it was sent in last.
    batch_id uuid,
    created_at timestamptz not null default now(),
    delivered_at timestamptz,
    -- A first attempt that succeeds, which is nearly every one, stands on its delivery: no
    -- row of webhook_attempts, and no entry of its index, for what one row can hold.
    first_attempt_at timestamptz,
    first_duration_ms integer check (first_duration_ms >= 0),
    first_subscription_version integer,
    first_http_status smallint,
    -- As of webhook_attempts.
    first_trigger smallint check (first_trigger between 1 and 5),
    first_response_excerpt text,
    first_content_type text,
    first_actor uuid,
    constraint only_pending_is_owned check (owner is null or status = 'pending'),
    constraint only_pending_is_due check (next_attempt_at is null or status = 'pending'),
    constraint delivered_says_when check ((status = 'delivered') = (delivered_at is not null)),
    constraint delivered_was_attempted check (status <> 'delivered' or attempts > 0),
    constraint first_attempt_has_duration
        check ((first_attempt_at is null) = (first_duration_ms is null))
) partition by range (id);
-- In the order of their events, of which a tenant's are found by it too.
create index webhook_deliveries_subscription on webhook_deliveries (subscription_id, event_id desc);
alter table webhook_deliveries enable row level security;
alter table webhook_deliveries force row level security;
create policy owner_sees_all on webhook_deliveries to current_user
    using (true) with check (true);
-- In the form of webhook_events, for the same reason.
create policy tenant_sees_own on webhook_deliveries to :"tenant_role"
    using (coalesce(tenant_id = current_tenant(), false))
    with check (tenant_id = current_tenant());
-- What is sent is one tenant's throughout: event, delivery and endpoint. A scalar is compared,
-- because the planner may answer `exists` by reading all of the tenant's.
create policy tenant_sends_own on webhook_deliveries as restrictive for insert to :"tenant_role"
    with check (
        (select s.tenant_id from webhook_subscriptions s where s.id = subscription_id) = tenant_id
        and (select e.tenant_id from webhook_events e where e.id = event_id) = tenant_id
    );
-- Pings and replays are deliveries that the API writes. No update makes another's of one.
grant select, insert, update (status, owner, next_attempt_at, delivered_at)
    on webhook_deliveries to :"tenant_role";

-- Pending, parked and failed deliveries that are not in memory: retries, overflowed and
-- handed-over ones. Narrow, and left on success, so that lists by status and the claim
-- never walk successes.
create table delivery_schedule (
    delivery_id uuid primary key,
    subscription_id uuid not null,
    tenant_id text not null,
    event_type text not null,
    status text not null
        check (status in ('pending', 'held', 'parked', 'failed', 'open', 'batched')),
    -- Why it is parked: 'disabled' or 'oversized'.
    parked_reason text check (parked_reason in ('disabled', 'oversized')),
    -- When to claim it. A claim notes its lease on the row and leaves due_at, which an index
    -- holds: the update is HOT, and touches no index, where its page has room for another
    -- version of each row.
    due_at timestamptz not null,
    -- It was attempted once or more.
    tried boolean not null default false,
    lease_owner uuid,
    -- When the lease ends and it may be claimed again.
    leased_until timestamptz,
    -- Ordered subscriptions. What is sent to them always goes through the schedule, where it
    -- has the place of its change: of a row's deliveries only the first is claimed. The ones
    -- after it are held, out of the claim's sight, until it has ended.
    -- A hash of the row's key; null: waits for no other.
    order_key bigint,
    commit_lsn pg_lsn,
    ordinal bigint,
    rule_index smallint,
    -- Batches: several deliveries of one subscription in one request. An open delivery waits
    -- for its batch to close: from due_at on, its arrival, for as long as the subscription
    -- says. A closed batch is a row of its own, whose delivery_id is its batch_id: it is due,
    -- leased, parked and tried again as one. Its members are batched, and wait for what
    -- becomes of it. They are its content, and none ever joins or leaves it.
    batch_id uuid,
    -- Of the event, where it is to be sent in a batch; of a batch, the whole.
    body_bytes integer,
    -- An open one's place in the WAL: events are batched in this order.
    batch_lsn pg_lsn,
    batch_ordinal bigint,
    batch_rule smallint,
    -- What brings its next attempt about, where that is not the schedule, and by whose call: as
    -- of webhook_attempts. A probe is decided on when the attempt is made.
    trigger smallint check (trigger in (1, 2, 3, 5)),
    actor uuid,
    constraint only_parked_says_why check ((status = 'parked') = (parked_reason is not null)),
    constraint only_pending_is_leased check (lease_owner is null or status = 'pending'),
    constraint leased_says_until_when check (lease_owner is null or leased_until is not null),
    constraint ordered_has_a_place
        check (num_nulls(order_key, commit_lsn, ordinal, rule_index) in (0, 4)),
    constraint only_ordered_is_held check (status <> 'held' or order_key is not null),
    constraint open_has_a_place_and_a_size
        check (status not in ('open', 'batched')
            or num_nulls(body_bytes, batch_lsn, batch_ordinal, batch_rule) = 0),
    constraint batched_is_in_a_batch check (status <> 'batched' or batch_id is not null),
    constraint open_is_in_none check (status not in ('open', 'failed') or batch_id is null)
) with (fillfactor = 45, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
create index delivery_schedule_tenant on delivery_schedule (tenant_id, status, delivery_id desc);
-- One index for the claim, which is by subscription, and for all that is done to a
-- subscription's rows. By subscription a claim meets no other's rows; after the row
-- that was claimed last it meets no dead ones, and rows that are due at the same moment
-- have an order for that. Without the open ones, of which nothing asks when they are due: a
-- planner that has no statistics of a burst yet would read all of them by the wrong index.
create index delivery_schedule_waiting
    on delivery_schedule (status, subscription_id, due_at, delivery_id) where status <> 'open';
-- Dead letters of one subscription, newest first: many may have been kept.
create index delivery_schedule_failed
    on delivery_schedule (subscription_id, delivery_id desc) where status = 'failed';
create index delivery_schedule_order
    on delivery_schedule (subscription_id, order_key, commit_lsn, ordinal, rule_index, delivery_id)
    where order_key is not null and status in ('pending', 'held');
create index delivery_schedule_open
    on delivery_schedule (subscription_id, batch_lsn, batch_ordinal, batch_rule, delivery_id)
    where status = 'open';
create index delivery_schedule_batch on delivery_schedule (batch_id) where batch_id is not null;
alter table delivery_schedule enable row level security;
alter table delivery_schedule force row level security;
create policy owner_sees_all on delivery_schedule to current_user
    using (true) with check (true);
-- In the form of webhook_events, for the same reason.
create policy tenant_sees_own on delivery_schedule to :"tenant_role"
    using (coalesce(tenant_id = current_tenant(), false))
    with check (tenant_id = current_tenant());
-- As of deliveries.
create policy tenant_sends_own on delivery_schedule as restrictive for insert to :"tenant_role"
    with check (
        (select s.tenant_id from webhook_subscriptions s where s.id = subscription_id) = tenant_id
        and (select d.tenant_id from webhook_deliveries d where d.id = delivery_id) = tenant_id
    );
grant select, insert, delete,
    update (status, parked_reason, due_at, lease_owner, batch_id, body_bytes, trigger, actor)
    on delivery_schedule to :"tenant_role";

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
    content_type text,
    -- What the endpoint answered, as it came: of failures, where delivery.keep_answer is on.
    response_headers jsonb,
    response_body bytea check (octet_length(response_body) <= 16384),
    -- There was more of it; null: no answer was kept.
    response_truncated boolean,
    -- What brought the attempt about: 1 a retry by hand, 2 one of all that match, 3 a replay,
    -- 4 the breaker's probe, 5 a test. Null: the schedule, as of nearly all.
    trigger smallint check (trigger between 1 and 5),
    -- The entry of the audit log that says who asked for it.
    actor uuid,
    -- Of the settings that it was made with.
    subscription_version integer,
    primary key (delivery_id, number)
) partition by range (delivery_id);
alter table webhook_attempts enable row level security;
alter table webhook_attempts force row level security;
create policy owner_sees_all on webhook_attempts to current_user
    using (true) with check (true);
create policy tenant_sees_own on webhook_attempts to :"tenant_role"
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
grant select on webhook_attempts to :"tenant_role";

-- What became of the attempts to a subscription's endpoint, by intervals: minutes while they
-- are new, then hours, then days. What an instance counts is added every few seconds, and lost
-- where it crashes before.
create table delivery_stats (
    subscription_id uuid not null,
    -- When the interval begins, and how long it is.
    at timestamptz not null,
    minutes integer not null check (minutes in (1, 60, 1440)),
    tenant_id text not null check (tenant_id <> ''),
    delivered bigint not null,
    -- At the first attempt.
    first_try bigint not null,
    -- Failed for good.
    dead bigint not null,
    -- Failed attempts by class.
    failed_http_status bigint not null,
    failed_timeout bigint not null,
    failed_connect bigint not null,
    failed_dns bigint not null,
    failed_tls bigint not null,
    failed_blocked bigint not null,
    failed_response bigint not null,
    failed_request bigint not null,
    -- How many attempts took up to so long. Columns, as arrays take twenty times as long to be
    -- added up.
    took_2ms bigint not null,
    took_5ms bigint not null,
    took_10ms bigint not null,
    took_20ms bigint not null,
    took_50ms bigint not null,
    took_100ms bigint not null,
    took_200ms bigint not null,
    took_500ms bigint not null,
    took_1s bigint not null,
    took_2s bigint not null,
    took_5s bigint not null,
    took_10s bigint not null,
    took_20s bigint not null,
    took_30s bigint not null,
    took_60s bigint not null,
    took_longer bigint not null,
    primary key (subscription_id, at, minutes)
) with (fillfactor = 80);
-- For what becomes old. No index has a column that counting changes.
create index delivery_stats_old on delivery_stats (minutes, at);
alter table delivery_stats enable row level security;
alter table delivery_stats force row level security;
create policy owner_sees_all on delivery_stats to current_user
    using (true) with check (true);
-- In the form of webhook_events, for the same reason.
create policy tenant_sees_own on delivery_stats to :"tenant_role"
    using (coalesce(tenant_id = current_tenant(), false));
grant select on delivery_stats to :"tenant_role";

-- Bulk retries and replays, carried out in batches: each commits with how far it has come, so
-- that any instance goes on where another stopped.
create table jobs (
    id uuid primary key,
    tenant_id text not null check (tenant_id <> ''),
    kind text not null check (kind in ('retry', 'replay')),
    -- What was asked for (JSON).
    request text not null,
    -- The entry of the audit log that says who asked for it.
    actor uuid,
    -- The one that a replay sends to, or that a retry is limited to. No foreign key: the job
    -- outlives it, and says that it was deleted.
    subscription_id uuid,
    state text not null default 'running'
        check (state in ('running', 'paused', 'done', 'cancelled', 'failed')),
    -- Why it failed, or was paused by walhook.
    reason text,
    -- Ids that are left: of deliveries, from the last down, for a retry; of events, from the
    -- first up, for a replay.
    from_id uuid not null,
    to_id uuid not null,
    -- How many matched when it was asked for; null: too many events to be counted first.
    total bigint check (total >= 0),
    done bigint not null default 0 check (done >= 0),
    filter_failures bigint not null default 0 check (filter_failures >= 0),
    -- Deliveries a second that become due; null: as fast as the store takes them.
    max_per_second integer check (max_per_second between 1 and 10000),
    -- Subscriptions whose breaker has admitted a probe for it.
    probed uuid[] not null default '{}',
    -- When the last batch was; later where one has failed, or the rate was used in advance: the
    -- next is not tried before.
    batch_at timestamptz,
    -- Batches in a row that failed.
    failures integer not null default 0 check (failures >= 0),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    finished_at timestamptz,
    constraint replays_have_a_subscription check (kind = 'retry' or subscription_id is not null),
    constraint failed_says_why check (state <> 'failed' or reason is not null),
    constraint finished_says_when
        check ((state in ('done', 'cancelled', 'failed')) = (finished_at is not null))
);
create index jobs_tenant on jobs (tenant_id, id desc);
create index jobs_running on jobs (id) where state = 'running';
alter table jobs enable row level security;
alter table jobs force row level security;
create policy owner_sees_all on jobs to current_user
    using (true) with check (true);
create policy tenant_sees_own on jobs to :"tenant_role"
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
grant select, insert, update on jobs to :"tenant_role";

-- What an endpoint last answered well and badly, written with its counts.
create table subscription_results (
    subscription_id uuid primary key,
    tenant_id text not null check (tenant_id <> ''),
    last_success_at timestamptz,
    last_failure_at timestamptz,
    last_failure_class text,
    last_failure_status smallint
) with (fillfactor = 50);
alter table subscription_results enable row level security;
alter table subscription_results force row level security;
create policy owner_sees_all on subscription_results to current_user
    using (true) with check (true);
create policy tenant_sees_own on subscription_results to :"tenant_role"
    using (tenant_id = current_tenant());
grant select on subscription_results to :"tenant_role";

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
alter table idempotency_keys enable row level security;
alter table idempotency_keys force row level security;
create policy owner_sees_all on idempotency_keys to current_user
    using (true) with check (true);
create policy tenant_sees_own on idempotency_keys to :"tenant_role"
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
grant select, insert, update, delete on idempotency_keys to :"tenant_role";

create table api_tokens (
    id uuid primary key,
    tenant_id text not null check (tenant_id <> ''),
    name text not null,
    -- SHA-256 of the token; the token itself is shown once and kept nowhere.
    hash bytea not null unique check (octet_length(hash) = 32),
    -- Whether it may make and revoke tokens of its tenant.
    manages_tokens boolean not null default false,
    created_at timestamptz not null default now(),
    -- Who made it: a principal, as audit_log has them.
    created_by_kind text not null default 'walhook',
    created_by text not null default 'walhook',
    created_by_actor text,
    -- Of its last request, to the minute.
    last_used_at timestamptz,
    last_used_from inet,
    expires_at timestamptz,
    revoked_at timestamptz
);
create index api_tokens_tenant on api_tokens (tenant_id, id desc);
-- Of those that ended.
create index api_tokens_end on api_tokens (least(expires_at, revoked_at));
alter table api_tokens enable row level security;
alter table api_tokens force row level security;
create policy owner_sees_all on api_tokens to current_user
    using (true) with check (true);
create policy tenant_sees_own on api_tokens to :"tenant_role"
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
-- A tenant revokes tokens, and none that is revoked is admitted again.
create policy tenant_revokes_own on api_tokens as restrictive for update to :"tenant_role"
    using (revoked_at is null) with check (revoked_at is not null);
-- No column of these is a token.
grant select (id, tenant_id, name, manages_tokens, created_at, created_by_kind, created_by,
        created_by_actor, last_used_at, last_used_from, expires_at, revoked_at),
    insert (id, tenant_id, name, hash, manages_tokens, created_by_kind, created_by,
        created_by_actor, expires_at),
    update (revoked_at)
    on api_tokens to :"tenant_role";

-- Links into the portal, as `walhook portal-link` makes them: each opens one session, once.
create table portal_links (
    id uuid primary key,
    tenant_id text not null check (tenant_id <> ''),
    -- SHA-256 of the code in the link; the code itself is shown once and kept nowhere.
    code_hash bytea not null unique check (octet_length(code_hash) = 32),
    -- Who is to use it, as the one who made it says.
    actor text not null,
    -- What its session may do: view, payloads, manage, secrets, resend, test, tokens.
    capabilities text[] not null check (cardinality(capabilities) > 0),
    -- The page that it leads to.
    next_path text not null check (next_path like '/console/%'),
    -- How long its session lasts at most.
    session_ttl interval not null check (session_ttl > interval '0' and session_ttl <= interval '24 hours'),
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    redeemed_at timestamptz,
    revoked_at timestamptz
);
create index portal_links_tenant on portal_links (tenant_id);
-- Of those that ended long ago.
create index portal_links_end on portal_links (expires_at);
alter table portal_links enable row level security;
alter table portal_links force row level security;
create policy owner_sees_all on portal_links to current_user
    using (true) with check (true);
create policy tenant_sees_own on portal_links to :"tenant_role"
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());

-- Sessions of the portal. A browser holds the secret that the hash is of.
create table portal_sessions (
    id uuid primary key,
    -- The link that opened it; links are forgotten before their sessions.
    link_id uuid not null,
    tenant_id text not null check (tenant_id <> ''),
    -- SHA-256 of the cookie.
    cookie_hash bytea not null unique check (octet_length(cookie_hash) = 32),
    actor text not null,
    capabilities text[] not null check (cardinality(capabilities) > 0),
    created_at timestamptz not null default now(),
    -- Of its last request, to the half minute.
    seen_at timestamptz not null default now(),
    expires_at timestamptz not null,
    revoked_at timestamptz
);
create index portal_sessions_tenant on portal_sessions (tenant_id, id desc);
create index portal_sessions_end on portal_sessions (expires_at);
alter table portal_sessions enable row level security;
alter table portal_sessions force row level security;
create policy owner_sees_all on portal_sessions to current_user
    using (true) with check (true);
create policy tenant_sees_own on portal_sessions to :"tenant_role"
    using (tenant_id = current_tenant()) with check (tenant_id = current_tenant());
-- A tenant ends sessions, and none that has ended is opened by it.
create policy tenant_ends_own on portal_sessions as restrictive for update to :"tenant_role"
    using (revoked_at is null) with check (revoked_at is not null);
-- A tenant sees who is signed in, and ends sessions. No column of these opens one.
grant select (id, tenant_id, actor, capabilities, created_at, seen_at, expires_at, revoked_at),
    update (revoked_at)
    on portal_sessions to :"tenant_role";

-- Tenants that were met: by an event, a call of the API, a token or a link into the portal.
create table tenants (
    tenant_id text primary key check (tenant_id <> ''),
    first_seen timestamptz not null default now(),
    -- What people call it.
    name text,
    settings jsonb not null default '{}',
    -- Since when it is being erased: the row goes with the last of its rows.
    erased_at timestamptz
);
alter table tenants enable row level security;
alter table tenants force row level security;
create policy owner_sees_all on tenants to current_user
    using (true) with check (true);
create policy tenant_sees_own on tenants to :"tenant_role"
    using (tenant_id = current_tenant());
grant select on tenants to :"tenant_role";

-- Tenants of events that have neither a subscription nor an API token, each until a day after
-- its last event. In most applications these are the tenants that do not use webhooks, and
-- many: only so many have a row of their own (note_unknown_tenants.sql), and '' stands for
-- the others. Of tenants, and none of them sees it.
create table unknown_tenants (
    tenant_id text primary key,
    -- A tenant with a subscription whose spelling alone differs.
    resembles text,
    -- Of the last event.
    event_type text not null,
    events bigint not null check (events > 0),
    last_at timestamptz not null default now(),
    constraint others_resemble_none check (tenant_id <> '' or resembles is null)
);

create table instances (
    id uuid primary key,
    hostname text not null,
    version text not null,
    roles text[] not null,
    -- Which process of which machine it is, where that is known: the next one that is started
    -- there sees whether it still runs.
    process text,
    -- The ids of the encryption keys that it has, beginning with the one that it encrypts with.
    encryption_key_ids bytea[] not null default '{}',
    -- Counts its heartbeats: one that it had committed and does not find again tells that the
    -- store is not what it was.
    heartbeats bigint not null default 0,
    -- Which rules it has, and since when: they can be reloaded while it runs. Two that may
    -- lead the capture should have the same.
    rules_hash text,
    rules_loaded_at timestamptz,
    started_at timestamptz not null default now(),
    heartbeat_at timestamptz not null default now(),
    -- At or below the id of every delivery that the instance owns and has not recorded.
    low_water uuid not null,
    -- How far its clock was ahead of the store's at its last heartbeat; negative: behind.
    clock_skew_seconds double precision,
    fenced_at timestamptz
);

-- Which instance sends to a subscription: one at a time, which alone has its queue, its
-- rate and its breaker in memory. A lease has no time of its own: it holds for as long as
-- its instance's heartbeats come, and goes with it (heartbeat_at, fenced_at). Nothing is
-- sent to a subscription that is not active, and its lease is not needed.
create table subscription_leases (
    subscription_id uuid primary key references webhook_subscriptions on delete cascade,
    instance uuid not null references instances on delete cascade
);
create index subscription_leases_instance on subscription_leases (instance);

-- The instances that share the subscriptions look when one of them comes or leaves, and
-- when a lease is given back.
create function announce_leases() returns trigger
    language plpgsql
as $$
begin
    perform pg_notify('walhook_leases', tg_table_schema);
    return null;
end
$$;
revoke execute on function announce_leases() from public;
create trigger announce_leases after insert or update of roles on instances
    for each statement execute function announce_leases();
create trigger announce_leases after delete on subscription_leases
    for each statement execute function announce_leases();

-- Subscriptions whose endpoint is to be tried at once, though its breaker is open: a user has
-- retried or tested by hand. The instance that sends to it deletes the row when it has taken
-- the request. No foreign key: its lock would wait for a deletion that waits in turn for what
-- is retried.
create table probe_requests (
    subscription_id uuid primary key,
    tenant_id text not null
);
alter table probe_requests enable row level security;
alter table probe_requests force row level security;
create policy owner_sees_all on probe_requests to current_user
    using (true) with check (true);
create policy tenant_sees_own on probe_requests to :"tenant_role"
    using (tenant_id = current_tenant())
    with check (
        (select s.tenant_id from webhook_subscriptions s where s.id = subscription_id) = tenant_id
        and tenant_id = current_tenant()
    );
grant insert on probe_requests to :"tenant_role";

-- How far the WAL is durable in the store. Committed with what it speaks of, and
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
    -- Raised by each instance that takes the slot; a write under an older epoch touches no row.
    epoch bigint not null default 0,
    leader uuid,
    leader_backend_pid integer,
    leader_backend_start timestamptz,
    updated_at timestamptz not null default now()
);

-- What was committed to the WAL and can never be enqueued: from from_lsn, where progress
-- stood, to to_lsn, where capture went on. Written by the component that meets the gap, and
-- again when the operator accepts it. Of the source, not of a tenant. Capture may go on after
-- a gap before it is accepted: a table that left the publication for a while, WAL that was shed.
create table gaps (
    id bigint generated always as identity primary key,
    slot text not null,
    -- What happened, as the metrics name it.
    kind text not null default 'unknown',
    -- schema.table where the gap is one table's; null: it concerns all of them.
    table_name text,
    from_lsn pg_lsn not null,
    to_lsn pg_lsn,
    reason text not null,
    -- The slot and the catalog look well: only the stream shows that it cannot go on.
    wedged boolean not null default false,
    detected_at timestamptz not null default now(),
    accepted_at timestamptz,
    constraint accepted_says_where_it_ends check (accepted_at is null or to_lsn is not null)
);
-- A state is named once, however often walhook meets it.
create unique index gaps_without_end on gaps (slot, kind, coalesce(table_name, ''))
    where to_lsn is null;

-- What the publication held of the watched tables when it was last looked at. A table
-- that was taken out and put back has another membership, a table or a publication that
-- was dropped and made again another oid; the WAL says nothing of either.
create table published_tables (
    slot text not null,
    -- schema.table
    table_name text not null,
    publication_oid oid not null,
    table_oid oid not null,
    -- pg_publication_rel; 0 where a whole schema or every table is published.
    member_oid oid not null,
    -- Found missing: its gap is open and has no end yet.
    missing boolean not null default false,
    -- A WAL position at which it was published.
    seen_lsn pg_lsn not null,
    primary key (slot, table_name)
);

-- Changes that matched a rule and cannot be sent. A row above source.max_row is not held,
-- and an event that needs its large values is parked.
create table parked_changes (
    commit_lsn pg_lsn not null,
    ordinal bigint not null,
    rule text not null,
    relation text not null,
    reason text not null check (reason in ('unroutable', 'unmappable', 'undecodable', 'oversized')),
    detail text not null,
    row_key text,
    -- How large the row was, where that is the reason.
    row_bytes bigint check (row_bytes >= 0),
    -- All of it that the WAL had, so that it can be mapped again by a changed rule.
    change bytea,
    parked_at timestamptz not null default now(),
    -- When the operator asked for it to be mapped again, until it was.
    retry_asked_at timestamptz,
    -- What retry_asked_at was when it was mapped again and could not be sent either.
    retried_at timestamptz,
    primary key (commit_lsn, ordinal, rule)
);
create index parked_changes_retry on parked_changes (retry_asked_at)
    where retry_asked_at is not null;

-- The rules that fitted their tables when walhook began with them, each by what it then
-- said. One that is here and does not fit any more met a change of its table: its changes
-- are parked and capture goes on. One that is not here is an error at start.
create table accepted_rules (
    slot text not null,
    rule text not null,
    definition bytea not null,
    accepted_at timestamptz not null default now(),
    primary key (slot, rule)
);

-- What each rule has made in each hour of UTC. Of the operator, not of a tenant.
create table rule_stats (
    slot text not null,
    rule text not null,
    hour timestamptz not null,
    events bigint not null check (events >= 0),
    -- Changes that matched it and could not be sent.
    parked bigint not null check (parked >= 0),
    -- To some ten seconds.
    last_event_at timestamptz,
    primary key (slot, rule, hour)
);

-- Every ten seconds what the instance that holds the slot sees of the way from the WAL to the
-- endpoints. Of the operator, not of a tenant.
create table pipeline_samples (
    slot text not null,
    at timestamptz not null default now(),
    -- WAL that is written and not confirmed, and WAL that the slot retains.
    lag_bytes bigint not null,
    retained_bytes bigint not null,
    -- How long after its commit the last event was durable.
    lag_seconds double precision not null,
    -- Of the instance that holds the slot.
    requests_under_way bigint not null,
    breakers_open bigint not null,
    primary key (slot, at)
);

-- The shadow: the last seen values of just the columns that rules need the old values
-- of, for tables whose WAL does not carry them. Written in the enqueue's transaction,
-- so that it always stands exactly where the progress does.

-- One watched table of one slot.
create table shadow_tables (
    id integer generated always as identity primary key,
    slot text not null,
    schema_name text not null,
    table_name text not null,
    -- Another table of the same name has another oid, and nothing in common.
    table_oid oid not null,
    -- The replica identity's columns, in the order of their names: what the WAL always has of a row.
    key_columns text[] not null check (cardinality(key_columns) > 0),
    -- What row_shadow.row_values holds, by place. Places are only ever added; '' is a place
    -- that is not used any more. A row with fewer does not know the later ones yet.
    columns text[] not null,
    -- What the texts of the values depend on besides changes of rows (JSON): types, labels of
    -- enums, where rows are stored, how the table is published. Under another definition a
    -- column's text may be another: it gets a new place.
    definition text not null,
    -- What was mapped up to here was mapped under this definition.
    seen_lsn pg_lsn not null,
    -- Of these columns what transactions with lower ids bring is neither kept nor compared: it
    -- may have been written under an earlier definition. Null: of none.
    unsure_columns text[] not null default '{}',
    sure_from bigint,
    state text not null default 'seeding' check (state in ('seeding', 'complete')),
    -- The key of the last row that was seeded; null: none yet.
    seeded_key text[],
    seeded_rows bigint not null default 0 check (seeded_rows >= 0),
    -- The commit at which the seed was complete.
    complete_at_lsn pg_lsn,
    updated_at timestamptz not null default now(),
    unique (slot, schema_name, table_name),
    constraint unsure_says_until_when check ((sure_from is null) = (cardinality(unsure_columns) = 0)),
    constraint complete_says_where check (state = 'seeding' or complete_at_lsn is not null),
    constraint complete_has_no_cursor check (state = 'seeding' or seeded_key is null)
);

create table row_shadow (
    shadow_id integer not null,
    row_key bytea not null,
    row_values bytea not null,
    primary key (shadow_id, row_key)
) with (fillfactor = 80);

-- The rules that read the shadow and have been told of a complete one. They stay active
-- when it must be seeded again: then a missing value is parked, not passed over.
create table shadow_rules (
    slot text not null,
    rule text not null,
    -- What the rule needed when it became active.
    columns text[] not null,
    active_from_lsn pg_lsn not null,
    primary key (slot, rule)
);

-- Backfills: rows that exist already, made into events while the stream goes on. The
-- cursor commits with the events of the rows that it has passed.
create table backfills (
    id uuid primary key,
    slot text not null,
    schema_name text not null,
    table_name text not null,
    -- The order in which the rows are read: a unique key that is never null.
    key_columns text[] not null check (cardinality(key_columns) > 0),
    -- The rules that the rows are held against, by name.
    rules text[] not null check (cardinality(rules) > 0),
    -- The operator's condition, in SQL.
    filter text,
    -- The schemas that the condition's names are looked for in, after pg_catalog.
    search_path text[] not null default '{}',
    since timestamptz,
    since_column text,
    -- The highest key when it was asked for. Rows after it came later, and the stream
    -- tells of them; null: there was no row.
    until_key text[],
    -- Only this one receives the events; null: every one that had begun at from_lsn.
    subscription_id uuid,
    from_lsn pg_lsn not null,
    rows_per_second integer not null check (rows_per_second > 0),
    chunk_rows integer not null check (chunk_rows > 0),
    status text not null default 'running'
        check (status in ('running', 'paused', 'done', 'cancelled', 'failed')),
    -- From here on it is noted what the stream makes of the table's rows: those events
    -- are not made a second time.
    begun boolean not null default false,
    -- The key of the last row that was taken; null: none yet.
    cursor text[],
    rows_read bigint not null default 0 check (rows_read >= 0),
    events bigint not null default 0 check (events >= 0),
    deliveries bigint not null default 0 check (deliveries >= 0),
    parked bigint not null default 0 check (parked >= 0),
    -- Events that the stream had made already.
    streamed bigint not null default 0 check (streamed >= 0),
    -- How many rows there are, as the planner guesses.
    estimate bigint not null check (estimate >= 0),
    -- What a running one waits for.
    waiting text,
    error text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    finished_at timestamptz,
    constraint since_names_a_column check ((since is null) = (since_column is null)),
    constraint failed_says_why check ((status = 'failed') = (error is not null)),
    constraint finished_says_when
        check ((status in ('done', 'cancelled')) = (finished_at is not null))
);
create index backfills_unfinished on backfills (slot, id) where finished_at is null;

-- What the stream has made of a table's rows since a backfill of it began: a hash of
-- rule and row each. Deleted when the backfill ends.
create table backfill_streamed (
    backfill_id uuid not null,
    row_hash bytea not null,
    primary key (backfill_id, row_hash)
);

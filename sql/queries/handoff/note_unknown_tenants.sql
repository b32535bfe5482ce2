-- Events of tenants without a subscription, by tenant ($1 to $4) and of others that were not
-- told apart ($5, of the type $6). Returns how many of them are of tenants that have no API
-- token either.
with unknown as (
    select tenant_id, resembles, event_type, events
    from unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
        as noted (tenant_id, resembles, event_type, events)
    where not exists (select from api_tokens t where t.tenant_id = noted.tenant_id)
        and not exists (select from webhook_subscriptions s where s.tenant_id = noted.tenant_id)
),
-- A hundred of each kind have a row of their own.
room as (
    select 100 - count(*) filter (where resembles is null) as of_others,
        100 - count(*) filter (where resembles is not null) as of_resembling
    from unknown_tenants
    where tenant_id <> ''
),
placed as (
    select unknown.*, recorded.tenant_id is not null
        or row_number() over (
            partition by recorded.tenant_id is null, unknown.resembles is null
            order by unknown.events desc, unknown.tenant_id
        ) <= case when unknown.resembles is null then room.of_others else room.of_resembling end
        as has_row
    from unknown
    left join unknown_tenants recorded on recorded.tenant_id = unknown.tenant_id
    cross join room
),
others as (
    select coalesce(sum(events), 0)::bigint + $5::bigint as events,
        coalesce(max(event_type), $6::text) as event_type
    from placed
    where not has_row
),
noted as (
    insert into unknown_tenants as u (tenant_id, resembles, event_type, events)
    select tenant_id, resembles, event_type, events from placed where has_row
    union all
    select '', null, event_type, events from others where events > 0
    order by 1
    on conflict (tenant_id) do update
        set resembles = excluded.resembles,
            event_type = excluded.event_type,
            events = u.events + excluded.events,
            last_at = now()
)
select coalesce(sum(events), 0)::bigint + $5::bigint as events from unknown

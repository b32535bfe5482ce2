-- Shadows what our SQL names, as a login that may create things in public does. The words and
-- operators of our SQL are in the settings test.words and test.operators. Each planted thing
-- writes a line into the server's log, which no rollback takes back, and fails.
set search_path = pg_catalog;
set check_function_bodies = off;

create function public.planted(what text) returns boolean language plpgsql
set search_path = pg_catalog as $$
begin
    raise log 'planted in %: % called by %', current_database(), what, current_user;
    raise exception 'planted: %', what;
end $$;

-- Not all that is made of two lists can be made.
create function pg_temp.try(statement text) returns integer language plpgsql as $$
begin
    execute statement;
    return 1;
exception when others then
    return 0;
end $$;

create function pg_temp.body(what text, is_set boolean) returns text language sql as $$
    select format(
        'language plpgsql as %L',
        format('begin perform public.planted(%L); return%s; end', what, case when not is_set then ' null' end)
    )
$$;

create temporary view words as
select unnest(string_to_array(current_setting('test.words'), ' ')) as word;

create temporary view symbols as
select unnest(string_to_array(current_setting('test.operators'), ' ')) as symbol;

-- What the columns and parameters of our SQL are of: an operator or function of exactly these
-- fits better than one of PostgreSQL's that needs a cast, whatever the search path's order.
create temporary view fitting as
select name::regtype::oid as type
from unnest(array[
    'oid', 'smallint', 'integer', 'bigint', 'numeric', 'text', 'name', '"char"', 'character varying', 'boolean',
    'pg_lsn', 'timestamptz', 'regclass', 'xid', 'text[]', 'name[]', 'oid[]', 'int2vector'
]) as name;

create table public.planting (what text primary key, made bigint not null);

with named as (
    select proname, proretset, prorettype, proargtypes::oid[] as arguments
    from pg_proc
    where pronamespace = 'pg_catalog'::regnamespace and proname in (select word from words)
), signatures as (
    select * from named
    union
    select proname, proretset, prorettype, arguments[:place - 1] || fitting.type || arguments[place + 1:]
    from named
    cross join generate_series(0, 2) as place
    cross join fitting
    where place < cardinality(arguments) and cardinality(arguments) <= 3
), functions as (
    select proname, proretset, arguments,
        -- A result that depends on an argument's type has none where that is replaced.
        case when type.typtype = 'p' and prorettype <> 'record'::regtype then 'text'
            else format_type(prorettype, null) end as result
    from signatures join pg_type as type on type.oid = prorettype
)
insert into public.planting
select 'functions', sum(pg_temp.try(format(
    'create function public.%I(%s) returns %s%s %s',
    proname,
    (
        select string_agg(format_type(argument, null), ', ' order by place)
        from unnest(arguments) with ordinality as one (argument, place)
    ),
    case when proretset then 'setof ' end,
    result,
    pg_temp.body('function ' || proname, proretset)
)))
from functions;

do $$
declare
    pair record;
begin
    for pair in
        select lefts.type::regtype as left_type, rights.type::regtype as right_type
        from fitting as lefts cross join fitting as rights
        union
        select distinct oprleft::regtype, oprright::regtype
        from pg_operator
        where oprleft <> 0 and oprname in (select symbol from symbols)
    loop
        perform pg_temp.try(format('create function public.operate(%s, %s) returns boolean %s',
            pair.left_type, pair.right_type,
            pg_temp.body(format('operator of %s and %s', pair.left_type, pair.right_type), false)));
    end loop;
end $$;

with operators as (
    select distinct oprname as symbol, lefts.type::regtype as left_type, rights.type::regtype as right_type
    from pg_operator cross join fitting as lefts cross join fitting as rights
    where oprleft <> 0 and oprresult = 'boolean'::regtype and oprleft in (select type from fitting)
        and oprname in (select symbol from symbols)
    union
    select oprname, oprleft::regtype, oprright::regtype
    from pg_operator
    where oprleft <> 0 and oprname in (select symbol from symbols)
)
insert into public.planting
select 'operators', sum(pg_temp.try(format(
    'create operator public.%s (leftarg = %s, rightarg = %s, function = public.operate)',
    symbol, left_type, right_type
)))
from operators;

insert into public.planting
select 'relations', sum(pg_temp.try(format(
    'create view public.%I as select * from %s where public.planted(%L)',
    relname, oid::regclass, 'relation ' || relname
)))
from pg_class
where relnamespace in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
    and relkind in ('r', 'v') and relname in (select word from words);

insert into public.planting
select 'types', sum(pg_temp.try(format(
    'create domain public.%I as pg_catalog.%I check (public.planted(%L))',
    typname, typname, 'type ' || typname
)))
from pg_type
where typnamespace = 'pg_catalog'::regnamespace and typtype = 'b' and typname in (select word from words);

grant select on all tables in schema public to public;

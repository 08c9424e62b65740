-- Webhooks: where partners want to hear of events, what is still to be told, and what came of each attempt.

create table webhook_endpoints (
    id              uuid        primary key,
    store_id        bigint      not null references stores,
    live            boolean     not null,
    url             text        not null,
    -- None means all.
    events          text[]      not null default '{}',
    enabled         boolean     not null default true,
    disabled_reason text        check (enabled = (disabled_reason is null)),
    sealed_secret   bytea       not null,
    -- Signs beside it until then.
    sealed_previous_secret bytea,
    previous_secret_until  timestamptz,
    -- Failed attempts since the last success, and since when there have been any. What succeeds all the time writes nothing here.
    failures        integer     not null default 0,
    failing_since   timestamptz,
    -- Enabled again a moment ago: what waits for a later attempt is to be told now, step by step.
    replay          boolean     not null default false,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now()
);
create index webhook_endpoints_of_store on webhook_endpoints (store_id, live);
create index webhook_endpoints_to_replay on webhook_endpoints (id) where replay;

-- One event for one endpoint. Born with the event; no foreign keys, as each would lock its parent's row.
create table webhook_deliveries (
    id              bigint generated always as identity primary key,
    endpoint_id     uuid        not null,
    event_id        uuid        not null,
    order_id        text collate "C" not null,
    sequence        integer     not null,
    status          text        not null default 'pending' check (status in ('pending', 'delivered', 'exhausted')),
    -- An earlier event of the same order is not settled: it is due when that is, or when its time comes.
    waits           boolean     not null default false,
    -- Attempts that were begun. With it, a row is claimed: who knows an older number is too late.
    attempts        integer     not null default 0,
    -- Of these, the ones before the schedule began anew, because somebody asked for it.
    attempts_before integer     not null default 0,
    -- While an attempt is under way: when it is taken for lost.
    next_attempt_at timestamptz not null default now(),
    created_at      timestamptz not null default now(),
    settled_at      timestamptz check ((settled_at is null) = (status = 'pending'))
);
-- Due, endpoint by endpoint: what is due for one that is busy or disabled is never in the way of the others.
create index webhook_deliveries_due on webhook_deliveries (endpoint_id, next_attempt_at) where status = 'pending';
create index webhook_deliveries_pending_of_order on webhook_deliveries (order_id, endpoint_id) where status = 'pending';
create index webhook_deliveries_of_endpoint on webhook_deliveries (endpoint_id, id);
create index webhook_deliveries_age on webhook_deliveries (settled_at) where status <> 'pending';

create table webhook_attempts (
    delivery_id bigint      not null,
    attempt     integer     not null,
    started_at  timestamptz not null,
    duration_ms integer     not null,
    -- What the partner's server answered, or why there is no answer.
    status      integer,
    error       text,
    answer      bytea,
    primary key (delivery_id, attempt),
    check ((status is null) <> (error is null))
);

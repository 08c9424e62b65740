-- The spine: stores and what they sell, the keys that open them, stock, orders, events, and the feed that edges follow.
--
-- Orders, items and keys carry no foreign keys: each would lock its parent row on every insert, and all of them are written together,
-- in one transaction, by one piece of code. The catalogue, which changes rarely, has them.

create table stores (
    id          bigint generated always as identity primary key,
    slug        text        not null unique,
    name        text        not null,
    licensing   boolean     not null default false,
    created_at  timestamptz not null default now()
);

create table api_keys (
    id                   bigint generated always as identity primary key,
    store_id             bigint      not null references stores,
    live                 boolean     not null,
    name                 text        not null,
    hint                 text        not null,
    pepper_id            text        not null,
    hash                 bytea       not null unique,
    scopes               text[]      not null default '{}',
    checkout_per_minute  integer,
    licensing_per_minute integer,
    api_per_minute       integer,
    created_at           timestamptz not null default now(),
    expires_at           timestamptz,
    revoked_at           timestamptz,
    last_used_at         timestamptz
);
create index api_keys_of_store on api_keys (store_id);

create table api_key_usage (
    key_id   bigint      not null references api_keys on delete cascade,
    minute   timestamptz not null,
    requests bigint      not null default 0,
    limited  bigint      not null default 0,
    primary key (key_id, minute)
);

create table products (
    id         bigint generated always as identity primary key,
    store_id   bigint      not null references stores,
    sku        text        not null,
    name       text        not null,
    source     text        not null check (source in ('pool', 'generator')),
    pattern    text        check ((source = 'generator') = (pattern is not null)),
    created_at timestamptz not null default now(),
    unique (store_id, sku)
);

create table prices (
    product_id   bigint not null references products on delete cascade,
    currency     text   not null,
    amount_minor bigint not null check (amount_minor >= 0),
    primary key (product_id, currency)
);

-- Free license keys alone: a sold one leaves this table, so that taking the oldest never walks over sold ones.
create table license_keys (
    id         uuid    primary key,
    product_id bigint  not null references products,
    live       boolean not null,
    sealed     bytea   not null
);
create index license_keys_free on license_keys (product_id, live, id);

-- One row for every license key there is or ever was, free or sold. What makes a key unique.
create table license_digests (
    store_id  bigint  not null,
    live      boolean not null,
    digest    bytea   not null,
    secret_id text    not null,
    primary key (store_id, live, digest)
);

create table orders (
    id                 text collate "C" primary key,
    store_id           bigint      not null,
    live               boolean     not null,
    external_reference text,
    idempotency_key    text,
    fingerprint        bytea       not null,
    status             text        not null,
    currency           text,
    total_minor        bigint,
    customer_email     text        not null,
    -- The request, sealed, while it is still to be worked on.
    sealed_request     bytea,
    error_code         text,
    error_detail       text,
    -- Starts that have not ended in an orderly way, counted before the work begins.
    starts             integer     not null default 0,
    next_attempt_at    timestamptz,
    created_at         timestamptz not null default now(),
    updated_at         timestamptz not null default now()
);
-- A failed order frees its reference and its idempotency key.
create unique index orders_reference on orders (store_id, live, external_reference) where status <> 'failed';
create unique index orders_idempotency_key on orders (store_id, live, idempotency_key)
    where idempotency_key is not null and status <> 'failed';
create index orders_of_store on orders (store_id, live, id);
create index orders_processing on orders (next_attempt_at) where status = 'processing';

create table order_items (
    order_id   text collate "C" not null,
    line       integer not null,
    product_id bigint  not null,
    sku        text    not null,
    quantity   integer not null,
    primary key (order_id, line)
);

create table order_keys (
    order_id       text collate "C" not null,
    line           integer not null,
    position       integer not null,
    license_key_id uuid    not null unique,
    sealed         bytea   not null,
    primary key (order_id, line, position)
);

create table events (
    id         uuid        primary key,
    store_id   bigint      not null,
    live       boolean     not null,
    order_id   text collate "C" not null,
    sequence   integer     not null,
    kind       text        not null,
    body       text        not null,
    created_at timestamptz not null default now(),
    unique (order_id, sequence)
);

-- The change feed. Ids commit in order: whoever writes here first takes an advisory lock, as the last thing its transaction does.
create table changes (
    id         bigint generated always as identity primary key,
    kind       text        not null check (kind in ('store', 'catalogue', 'api_key')),
    subject_id bigint      not null,
    created_at timestamptz not null default now()
);

-- How far each edge has followed the feed.
create table edges (
    id                text        primary key,
    started_at        timestamptz not null default now(),
    seen_at           timestamptz not null default now(),
    applied_change_id bigint      not null,
    applied_at        timestamptz not null default now()
);

-- Work that cannot be done, kept whole (and sealed) for a person to look at.
create table dead_letters (
    id         uuid        primary key,
    queue      text        not null,
    reason     text        not null,
    sealed     bytea       not null,
    created_at timestamptz not null default now()
);

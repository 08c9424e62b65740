-- What customers are about to buy, and what the marketplace shows.

-- A cart belongs to one store, and to the browser that holds the secret behind the digest. No foreign keys: rows come and go with every
-- visitor, and each would lock its store's row.
create table carts (
    id         text collate "C" primary key,
    store_id   bigint      not null,
    live       boolean     not null,
    -- The checkout session that made it: one session, one cart, whichever edge or tab was first.
    session_id uuid,
    browser    bytea       not null,
    -- Filled on the marketplace, one cart for each store and currency at a time.
    market     boolean     not null default false,
    currency   text        not null,
    locale     text,
    -- What the partner gave along, as an array of name and value.
    metadata   jsonb       not null default '[]',
    skus       text[]      not null,
    quantities integer[]   not null,
    email       text,
    country     text,
    subdivision text,
    vat_id      text,
    -- Set once, in the transaction that makes the order.
    order_id   text collate "C",
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (cardinality(skus) = cardinality(quantities))
);
create unique index carts_session on carts (store_id, live, session_id) where session_id is not null;
create unique index carts_market on carts (browser, store_id, currency) where market and order_id is null;
create unique index carts_order on carts (order_id) where order_id is not null;
create index carts_age on carts (created_at);

-- Products that their partner shows on the marketplace.
create table listings (
    product_id bigint      primary key references products on delete cascade,
    created_at timestamptz not null default now()
);

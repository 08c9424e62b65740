-- What Stripe says, and what is known of an order's payment because of it.

-- Each event once, and of it only what is used: names and addresses that come with it are not kept.
create table stripe_events (
    -- Stripe's.
    id              text        collate "C" primary key,
    live            boolean     not null,
    kind            text        not null,
    -- Which order it is about, as far as it says.
    order_id        text        collate "C",
    payment_intent  text        collate "C",
    -- What happened, as JSON; none of an event that could not be read.
    fact            text,
    -- Parked: its order is not there yet.
    status          text        not null check (status in ('waiting', 'parked', 'applied', 'refused')),
    -- Why it was refused.
    reason          text        check ((reason is null) = (status <> 'refused')),
    tries           integer     not null default 0,
    next_attempt_at timestamptz not null default now(),
    received_at     timestamptz not null default now(),
    settled_at      timestamptz check ((settled_at is null) = (status in ('waiting', 'parked')))
);
create index stripe_events_due on stripe_events (next_attempt_at) where status = 'waiting';
create index stripe_events_parked on stripe_events (received_at) where status = 'parked';
create index stripe_events_age on stripe_events (settled_at) where status in ('applied', 'refused');

-- The facts of an order's payment, but for its disputes. An order that was paid elsewhere has a row when Stripe says something about it.
create table order_payments (
    order_id       text collate "C" primary key,
    live           boolean     not null,
    payment_intent text collate "C",
    paid_at        timestamptz,
    is_expired     boolean     not null default false,
    is_revoked     boolean     not null default false,
    refunded_minor bigint      not null default 0 check (refunded_minor >= 0),
    charged_minor  bigint      not null default 0 check (charged_minor >= 0),
    -- Paid, and there were not enough license keys.
    awaits_keys    boolean     not null default false
);
create unique index order_payments_intent on order_payments (payment_intent, live) where payment_intent is not null;
create index order_payments_awaiting on order_payments (paid_at, order_id) where awaits_keys;

create table order_disputes (
    -- Stripe's.
    id           text collate "C" primary key,
    order_id     text collate "C" not null,
    status       text   not null check (status in ('inquiry', 'inquiry_closed', 'open', 'won', 'lost')),
    amount_minor bigint not null
);
create index order_disputes_of_order on order_disputes (order_id);

-- License keys may be used although the status says that money went back, as the store wishes.
alter table orders add column keys_kept boolean not null default false;

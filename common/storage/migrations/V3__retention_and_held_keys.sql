-- Two things that belong to looking after the data: finding what has grown old, a step at a time, and taking stock out of the sale.

-- Only orders that still have an idempotency key: one without costs this index nothing, and one that lost its key leaves it.
create index orders_idempotency_key_age on orders (created_at) where idempotency_key is not null;
-- No partial index: every row of these two grows old. Both get few rows, one a minute and key in use, and one a failure.
create index api_key_usage_age on api_key_usage (minute);
create index dead_letters_age on dead_letters (created_at);

-- License keys that are not for sale although no order has them: after a restore they may be in a customer's hands. A table of their
-- own, so that a sale never meets them.
create table held_license_keys (
    id         uuid        primary key,
    product_id bigint      not null references products,
    live       boolean     not null,
    sealed     bytea       not null,
    held_at    timestamptz not null default now()
);
create index held_license_keys_of_product on held_license_keys (product_id, live, id);

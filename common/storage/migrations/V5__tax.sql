-- Tax: where a store is and how it says its prices, and the rates that operators lay over the compiled-in ones.

alter table stores
    -- Null: as usual in the customer's country.
    add column prices_include_tax boolean,
    -- Null: the store has not said, and no tax is reversed.
    add column country            text check (country ~ '^[A-Z]{2}$');

-- One batch is one imported file, and lies over all batches before it.
create table tax_rates (
    batch       bigint  not null,
    line        integer not null,
    country     text    not null check (country ~ '^[A-Z]{2}$'),
    subdivision text,
    tax_type    text    not null,
    category    text    not null,
    rate_ppm    integer not null check (rate_ppm between 0 and 1000000),
    valid_from  date,
    -- The first day on which it no longer holds.
    valid_to    date    check (valid_to > valid_from),
    stacking    text    not null,
    source      text    not null check (source <> ''),
    as_of       date    not null,
    imported_at timestamptz not null default now(),
    primary key (batch, line)
);

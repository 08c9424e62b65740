-- How orders of the hosted pages came about.
create table order_checkouts (
    order_id  text collate "C" primary key,
    -- Put together on the marketplace, not in the store's own cart.
    market    boolean not null,
    -- What was owed and why, with the rates that made it: what the order's total is made of.
    tax_quote jsonb   not null
);
-- What nobody has paid yet, so that it can be given up one day.
create index if not exists orders_pending on orders (created_at) where status = 'pending';

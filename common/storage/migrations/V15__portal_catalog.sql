-- Orders by who bought, for those who know nothing else of one. In any case: people write their address as they like.
create index if not exists orders_of_customer on orders (store_id, live, lower(customer_email), id);
-- What the marketplace says of a product, where its partner wants it to say something else than its name.
alter table products add column if not exists market_title text, add column if not exists market_text text;

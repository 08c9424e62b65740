-- Lists of orders by reference and by status. Both indexes leave out what is fulfilled at once, which is nearly every order: it costs
-- them nothing.

-- Not fulfilled: few among many, and wanted newest first.
create index orders_unusual on orders (store_id, live, status, id) where status <> 'fulfilled';
-- Together with orders_reference, which has the others: every order of a reference.
create index orders_failed_reference on orders (store_id, live, external_reference) where status = 'failed';

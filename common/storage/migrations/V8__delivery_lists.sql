-- Deliveries of an endpoint by time: for lists, newest first, and for sending those of a span of time again.

create index if not exists webhook_deliveries_by_time on webhook_deliveries (endpoint_id, created_at, id);
create index if not exists webhook_deliveries_exhausted on webhook_deliveries (endpoint_id, created_at, id) where status = 'exhausted';
-- contracts: the first of these does what this one did; the version before is slower without it, and not wrong.
drop index if exists webhook_deliveries_of_endpoint;

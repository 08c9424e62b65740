-- The trace of the call that made an order: W3C's traceparent and, behind a space, tracestate. Webhooks carry it on.
alter table events add column if not exists trace text;

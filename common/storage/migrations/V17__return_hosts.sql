-- The hosts that a store's customers may be sent back to; none means any.
alter table stores add column if not exists return_hosts text[] not null default '{}';

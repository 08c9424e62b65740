-- The change feed tells of tax rates too.

alter table changes
    drop constraint changes_kind_check,
    add constraint changes_kind_check check (kind in ('store', 'catalogue', 'api_key', 'tax')) not valid;
-- A few rows: whoever follows tax rates alone must not read the whole feed every second.
create index if not exists changes_tax on changes (id) where kind = 'tax';

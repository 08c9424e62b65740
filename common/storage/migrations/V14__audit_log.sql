-- Who has changed what about a store: written with the change itself, and never changed or deleted.
create table audit_log (
    id       bigint generated always as identity primary key,
    store_id bigint      not null references stores,
    at       timestamptz not null default now(),
    -- An account's e-mail address, `command line` or `API`. No reference: what somebody did stays when they go.
    actor    text        not null,
    -- `kind.done`, as the program names them.
    what     text        not null check (what like '%.%'),
    -- What it was done to, for people.
    object   text        not null,
    -- What is different, without secrets; none where there was nothing before, or is nothing after.
    before   jsonb,
    after    jsonb
);
create index audit_log_of_store on audit_log (store_id, id);

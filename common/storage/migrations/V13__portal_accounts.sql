-- Who may sign in to the portal, and what they may do there.

create table accounts (
    id            bigint generated always as identity primary key,
    -- In lower case.
    email         text        not null unique,
    -- argon2id, in PHC's format; none until its owner has chosen one.
    password_hash text,
    created_at    timestamptz not null default now()
);

create table memberships (
    account_id bigint      not null references accounts on delete cascade,
    store_id   bigint      not null references stores,
    role       text        not null check (role in ('owner', 'developer', 'read-only')),
    created_at timestamptz not null default now(),
    primary key (account_id, store_id)
);
create index memberships_of_store on memberships (store_id);

-- The newest link by which an account may set its password, once.
create table account_invites (
    account_id bigint      primary key references accounts on delete cascade,
    digest     bytea       not null unique,
    expires_at timestamptz not null
);

-- Ended ones stay for a while: an account's own browsers are known by them.
create table portal_sessions (
    digest     bytea       primary key,
    account_id bigint      not null references accounts on delete cascade,
    browser    bytea       not null,
    created_at timestamptz not null default now(),
    seen_at    timestamptz not null default now(),
    expires_at timestamptz not null,
    ended_at   timestamptz
);
create index portal_sessions_of_account on portal_sessions (account_id);
create index portal_sessions_age on portal_sessions (expires_at);

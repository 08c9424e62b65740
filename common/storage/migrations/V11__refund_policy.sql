-- What a store wants to happen to license keys when money goes back.
alter table stores add column revoke_when_refunded boolean not null default true,
                   add column suspend_while_disputed boolean not null default true;

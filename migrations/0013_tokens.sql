-- Who may call the API, and workers that call it from elsewhere.

create table token (
    id          bigint generated always as identity primary key,
    name        text not null,
    role        smallint not null check (role between 0 and 2),
    hash        bytea not null unique check (octet_length(hash) = 32),
    created     timestamptz not null default clock_timestamp(),
    expires     timestamptz,
    revoked     timestamptz,
    last_used   timestamptz
);
comment on table token is 'Bearer tokens of clients, workers and administrators; revoked ones stay for the record.';
comment on column token.id is 'Names it where the token itself must not be shown.';
comment on column token.name is 'For people.';
comment on column token.role is 'Code of domain::access::Role: 0 client, 1 worker, 2 admin.';
comment on column token.hash is 'SHA-256 of the token, which is random and so long that no slower hash is needed.';
comment on column token.created is 'When it was made.';
comment on column token.expires is 'From when on it is refused; null for never.';
comment on column token.revoked is 'When it was revoked, if it was.';
comment on column token.last_used is 'When it was last shown to a server, to the minute.';

alter table worker
    add column secret bytea check (octet_length(secret) = 32),
    add column served_by text not null default '',
    add column running integer not null default 0,
    add column drained timestamptz;
comment on column worker.secret is 'SHA-256 of what a remote worker proves with that it is this incarnation; null for one in a process of its own engine.';
comment on column worker.served_by is 'The process that gives it attempts; no other may.';
comment on column worker.running is 'How many attempts it ran at its last heartbeat.';
comment on column worker.drained is 'When it was told to take nothing new, if it was.';

-- Idempotent submission: the keys by which clients name a request, so that its repetition is known.

create table idempotency_key (
    kind        smallint not null check (kind between 0 and 2),
    key         text collate "C" not null check (octet_length(key) between 1 and 600),
    digest      bytea not null check (octet_length(digest) = 32),
    operation   uuid not null,
    at          timestamptz not null,
    primary key (kind, key)
) with (autovacuum_vacuum_scale_factor = 0.05);
create index idempotency_key_at on idempotency_key (at) where kind > 0;
create index idempotency_key_alias on idempotency_key (operation) where kind = 0;
comment on table idempotency_key is 'What clients called their submissions; stored with the operation, by the same statement.';
comment on column idempotency_key.kind is 'Code of store::KeyKind: 0 Operation-Id, 1 Repeatability-Request-ID, 2 Idempotency-Key.';
comment on column idempotency_key.key is 'The key itself.';
comment on column idempotency_key.digest is 'SHA-256 of what was asked for: another request must not use the key.';
comment on column idempotency_key.operation is 'The operation that was made. A key may outlive it; an Operation-Id is free again then.';
comment on column idempotency_key.at is 'When the operation was made, as the answer told it.';

alter table operation add column alias text;
comment on column operation.alias is 'The id that its client chose (Operation-Id), shown in place of its own; null if none was chosen.';

alter table operation_data add column forked_from_alias text;
comment on column operation_data.forked_from_alias is 'The alias of the operation that it was forked from, if that has one.';

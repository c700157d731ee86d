-- Admission: operations that share a concurrency key or a rate limit with others, and wait for it.

create table admission (
    operation   uuid primary key,
    key         text,
    places      integer check (places > 0),
    on_conflict smallint check (on_conflict between 0 and 2),
    rate_key    text,
    rate        integer check (rate > 0),
    per         bigint check (per > 0),
    priority    smallint not null,
    cancellable boolean not null,
    paused      boolean not null default false,
    state       smallint not null default 0 check (state between 0 and 3),
    is_due      boolean not null default true,
    decided     timestamptz not null default clock_timestamp(),
    loses_to    uuid,
    check (num_nulls(key, places, on_conflict) in (0, 3)),
    check (num_nulls(rate_key, rate, per) in (0, 3)),
    check (key is not null or rate_key is not null)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
comment on table admission is 'What operations that have not ended ask before they begin, and what they were granted.';
comment on column admission.operation is 'The operation.';
comment on column admission.key is 'Its concurrency key, with placeholders filled; null for none.';
comment on column admission.places is 'How many operations with the key may be admitted at once, as this one sees it.';
comment on column admission.on_conflict is '0 it waits, 1 older ones are cancelled, 2 it is cancelled.';
comment on column admission.rate_key is 'The key of its rate limit, with placeholders filled; null for none.';
comment on column admission.rate is 'How many operations may be admitted in the time per, as this one sees it.';
comment on column admission.per is 'That time in microseconds.';
comment on column admission.priority is 'Higher ones stand before lower ones in line.';
comment on column admission.cancellable is 'Whether it may be cancelled for a newer one.';
comment on column admission.paused is 'Whether it is paused before it was admitted: others pass it by.';
comment on column admission.state is '0 waits for a place, 1 has its place and waits for its turn under the rate limit, 2 admitted, 3 ended.';
comment on column admission.is_due is 'Whether it has to be looked at: it is new or changed, has ended, or was not told yet what was decided.';
comment on column admission.decided is 'When something was decided on it last.';
comment on column admission.loses_to is 'The operation with its key for which it is cancelled.';

create index admission_due on admission (operation) where is_due;
comment on index admission_due is 'What has to be looked at.';
create index admission_line on admission (key, priority desc, operation)
    where state = 0 and not paused and loses_to is null;
comment on index admission_line is 'Who waits for places, in order.';
create index admission_held on admission (key, operation) where state in (1, 2);
comment on index admission_held is 'Who has places.';
create index admission_age on admission (key, operation) where loses_to is null and state < 3;
comment on index admission_age is 'All that were not cancelled for newer ones, by age.';
create index admission_winner on admission (key, operation)
    where on_conflict = 1 and loses_to is null and state < 3;
comment on index admission_winner is 'Those for which older ones are cancelled.';
create index admission_turn on admission (rate_key, priority desc, operation)
    where state = 1 and not paused and loses_to is null;
comment on index admission_turn is 'Who waits for turns under rate limits, in order.';

create table rate_key (
    key         text primary key,
    admitted    timestamptz[] not null,
    kept        integer not null check (kept > 0),
    next        timestamptz,
    until       timestamptz not null
) with (fillfactor = 70);
create index rate_key_next on rate_key (next) where next is not null;
create index rate_key_until on rate_key (until);
comment on table rate_key is 'The last admissions under each rate limit.';
comment on column rate_key.key is 'The key of the rate limit.';
comment on column rate_key.admitted is 'When operations were admitted, oldest first.';
comment on column rate_key.kept is 'How many of them are kept: the largest limit that was asked for.';
comment on column rate_key.next is 'When the first in line may be admitted; null if none waits.';
comment on column rate_key.until is 'When the row says nothing any more.';

comment on column event.kind is '0 submitted, 1 step moved, 2 cancel requested, 3 deadline passed, 4 context changed, 5 paused, 6 resumed, 7 attempt ended, 8 abort requested, 9 admitted.';
comment on column operation.flags is 'Bits of store::record: 1 has an operation_data row, 2 some attempt has a result, 4 paused, 8 machines of its own, 16 edits, 32 resources, 64 not admitted yet, 128 has an admission row.';

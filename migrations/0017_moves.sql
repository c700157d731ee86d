-- When steps of large operations last moved, found without reading their whole history.

alter table step_chunk add column moved bytea;
comment on column step_chunk.moved is 'The seq of the event by which each step last moved, 4 bytes each, 0 for none; null for operations from before this was kept.';
comment on column operation.open is 'Open attempts and notes in records of 32 bytes (store::packed).';

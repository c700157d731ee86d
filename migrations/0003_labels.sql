-- Operations by label: `labels @> '{"branch": "main"}'`.
--
-- Partitions are made `like operation including all`, so each gets a copy of the index, which
-- attaching it finds and keeps; those that exist already get theirs here. Pending entries are taken
-- over by those who write and by the autovacuum, a batch at a time: a submission appends one entry
-- to a list (`fastupdate`), and one without labels appends nothing, as the index leaves it out.
create index operation_labels on operation using gin (labels jsonb_path_ops)
    with (fastupdate = on, gin_pending_list_limit = 256)
    where labels is not null;
comment on index operation_labels is 'Labels by key and value.';

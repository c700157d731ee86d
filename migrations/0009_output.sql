-- Where each piece of output begins, so that a part of a long output is read without what is before it.

alter table output add column start bigint check (start >= 0);
comment on column output.start is 'The bytes of the attempt''s pieces before this one; null for pieces from before offsets.';

alter table output add column start_stdout bigint check (start_stdout >= 0);
comment on column output.start_stdout is 'The same of stdout and remarks alone.';

alter table output add column start_stderr bigint check (start_stderr >= 0);
comment on column output.start_stderr is 'The same of stderr and remarks alone.';

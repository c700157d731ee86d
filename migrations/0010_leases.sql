-- Lost leases are visible for a while before anybody else gets the attempts.

alter table worker add column revoked timestamptz;
comment on column worker.revoked is 'When its lease was found to have run out; its attempts are Unresponsive from then on.';

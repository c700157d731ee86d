-- A worker whose lease ran out may come back until it is over.

alter table worker add column requeue_after interval not null default '2 seconds';
comment on column worker.requeue_after is 'How long its attempts are Unresponsive before others get them. It was told so when it registered.';
alter table worker add column over timestamptz;
comment on column worker.over is 'When its incarnation ended for ever: nothing that it says counts any more, and others may have its attempts. Set before any of them is given away.';
comment on column worker.revoked is 'When its lease was last found to have run out. Stays when the lease is renewed, until its attempts were told to go on.';
comment on column worker.lease_until is 'Until when it may act without another heartbeat. One that comes later still counts while the incarnation is not over.';

// DBOS Transact for TypeScript: workflows whose steps are recorded in PostgreSQL. Start with
// `./run dbos-node`.
import pg from "pg";
import { DBOS } from "@dbos-inc/dbos-sdk";
import { CLIENTS, SECONDS, Starts, figure, idle, load, now, sleep, version } from "./measure.mjs";

// DBOS wants a host name; the socket's folder goes before it.
const { PGHOST, PGPORT, PGUSER, PGDATABASE } = process.env;
const systemDatabaseUrl = `postgresql://${PGUSER}@localhost:${PGPORT}/${PGDATABASE}?host=${PGHOST}`;
const system = { system: "DBOS (TypeScript)", version: version("@dbos-inc/dbos-sdk") };
const database = new pg.Pool({ connectionString: systemDatabaseUrl });
const starts = new Starts();

const step = async () => {};
const twoSteps = DBOS.registerWorkflow(
  async () => {
    await DBOS.runStep(step, { name: "first" });
    await DBOS.runStep(step, { name: "second" });
  },
  { name: "twoSteps" },
);
let began;
const noop = DBOS.registerWorkflow(async () => void (began ??= now()), { name: "noop" });
const tell = DBOS.registerWorkflow(async (id) => starts.tell(id), { name: "tell" });

DBOS.setConfig({
  name: "peers",
  systemDatabaseUrl,
  systemDatabasePoolSize: CLIENTS,
  logLevel: "error",
});
await DBOS.launch();

/** Runs a backlog of workflows without steps to its end. They wait until their queue is registered. */
async function drain(jobs) {
  const queueName = `drain-${now()}`;
  await Promise.all(Array.from({ length: jobs }, () => DBOS.startWorkflow(noop, { queueName })()));
  began = undefined;
  await DBOS.registerQueue(queueName);
  const unfinished =
    "select from dbos.workflow_status where queue_name = $1 and status <> 'SUCCESS' limit 1";
  while ((await database.query(unfinished, [queueName])).rowCount > 0) await sleep(20);
  return { value: (jobs * 1e3) / (now() - began) };
}

/** How long it takes from startWorkflow on a queue to the start of the workflow. */
async function pickUp(options) {
  const queueName = `tell-${now()}`;
  await DBOS.registerQueue(queueName, options);
  return idle(starts, (id) => DBOS.startWorkflow(tell, { queueName })(id));
}

await figure(
  {
    ...system,
    what: "two-step workflows",
    unit: "workflows/s",
    conditions: "in the same process, 64 at once",
  },
  () => load(twoSteps),
);
await figure(
  { ...system, what: "no-op jobs", unit: "jobs/s", conditions: "queue, default: no limit at once" },
  () => drain(500 * SECONDS),
);
await figure(
  {
    ...system,
    what: "submissions",
    unit: "jobs/s",
    conditions: "to a queue, 64 clients, no worker",
  },
  () => load(DBOS.startWorkflow(noop, { queueName: "later" })),
);
const idleStart = { ...system, what: "idle: submission to start", unit: "ms" };
await figure({ ...idleStart, conditions: "queue polled every 1,000 ms (default)" }, () =>
  pickUp({}),
);
await figure({ ...idleStart, conditions: "queue polled every 10 ms" }, () =>
  pickUp({ minPollingIntervalMs: 10 }),
);

await DBOS.shutdown();
await database.end();

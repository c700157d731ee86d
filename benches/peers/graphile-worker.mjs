// graphile-worker: jobs in PostgreSQL, run by Node. Start with `./run graphile-worker`.
import pg from "pg";
import { Logger, makeWorkerUtils, run, runOnce } from "graphile-worker";
import { SECONDS, Starts, figure, idle, load, now, version } from "./measure.mjs";

const connectionString = process.env.DATABASE_URL;
// Without a line for each job that succeeded.
const logger = new Logger(() => (level, message) => {
  if (level === "error" || level === "warning") console.error(message);
});
// As many at once as in the project's own performance test.
const DEFAULT = { concurrentJobs: 24, maxPoolSize: 25 };
// What its documentation measures "with batching".
const BATCHED = {
  ...DEFAULT,
  localQueue: { size: 500 },
  completeJobBatchDelay: 0,
  failJobBatchDelay: 0,
};

const system = { system: "graphile-worker", version: version("graphile-worker") };
const database = new pg.Pool({ connectionString });
const utils = await makeWorkerUtils({ connectionString, logger });
await utils.migrate();

/** Runs a backlog of jobs that do nothing to its end. */
async function drain(jobs, worker) {
  await database.query(
    `select 1 from graphile_worker.add_jobs(array(
       select json_populate_record(null::graphile_worker.job_spec, '{"identifier": "noop", "payload": {}}')
       from generate_series(1, $1)))`,
    [jobs],
  );
  await database.query("analyze");
  const began = now();
  await runOnce({
    preset: { worker: { connectionString, logger, ...worker } },
    taskList: { noop: () => {} },
  });
  const seconds = (now() - began) / 1e3;
  const { rows } = await database.query("select count(*)::int as left from graphile_worker.jobs");
  if (rows[0].left !== 0) throw new Error(`${rows[0].left} jobs are left`);
  return { value: jobs / seconds };
}

/** How long it takes from a call of addJob to the start of its task, while a worker waits. */
async function pickUp(worker) {
  const starts = new Starts();
  const runner = await run({
    preset: { worker: { connectionString, logger, ...worker } },
    taskList: { tell: ({ id }) => starts.tell(id) },
  });
  const figures = await idle(starts, (id) => utils.addJob("tell", { id }));
  await runner.stop();
  return figures;
}

const noop = { ...system, what: "no-op jobs", unit: "jobs/s" };
await figure({ ...noop, conditions: "default, 24 at once" }, () => drain(4_000 * SECONDS, DEFAULT));
await figure(
  { ...noop, conditions: "local queue of 500, completions in batches, 24 at once" },
  () => drain(30_000 * SECONDS, BATCHED),
);
await figure(
  { ...system, what: "submissions", unit: "jobs/s", conditions: "addJob, 64 clients, no worker" },
  async () => {
    const figures = await load(() => utils.addJob("later", {}));
    await database.query("truncate graphile_worker._private_jobs");
    return figures;
  },
);
const idleStart = { ...system, what: "idle: submission to start", unit: "ms" };
await figure({ ...idleStart, conditions: "default (LISTEN), 24 at once" }, () => pickUp(DEFAULT));

await utils.release();
await database.end();

// pg-boss: jobs in PostgreSQL, polled by Node. Start with `./run pg-boss`.
import { PgBoss } from "pg-boss";
import { SECONDS, Starts, figure, idle, load, now, version } from "./measure.mjs";

const connectionString = process.env.DATABASE_URL;
const system = { system: "pg-boss", version: version("pg-boss") };

const boss = new PgBoss({ connectionString, useListenNotify: true });
boss.on("error", console.error);
await boss.start();

/** Runs a backlog of jobs that do nothing to its end. */
async function drain(jobs, options) {
  await boss.createQueue("noop");
  for (let left = jobs; left > 0; left -= 10_000) {
    await boss.insert(
      "noop",
      Array.from({ length: Math.min(left, 10_000) }, () => ({})),
    );
  }
  await boss.getDb().executeSql("analyze");
  let left = jobs;
  const began = now();
  await new Promise((resolve) => {
    const handler = async (batch) => {
      left -= batch.length;
      if (left === 0) resolve();
    };
    boss.work("noop", options, handler);
  });
  // Waits for the workers, so that the last completions are stored.
  await boss.offWork("noop");
  const seconds = (now() - began) / 1e3;
  await boss.deleteQueue("noop");
  return { value: jobs / seconds };
}

/** How long it takes from a call of send to the start of its handler, while a worker waits. */
async function pickUp(queue, options) {
  const starts = new Starts();
  await boss.createQueue("tell", queue);
  await boss.work("tell", options, async (batch) =>
    batch.forEach(({ data }) => starts.tell(data.id)),
  );
  const figures = await idle(starts, (id) => boss.send("tell", { id }));
  await boss.offWork("tell");
  await boss.deleteQueue("tell");
  return figures;
}

// By default a worker takes one job every two seconds. These go on while there is work.
const noop = { ...system, what: "no-op jobs", unit: "jobs/s" };
for (const [batchSize, localConcurrency, backlog] of [
  [10, 10, 4_000],
  [1_000, 4, 15_000],
]) {
  const conditions = `batches of ${batchSize}, ${localConcurrency} workers, burstWhenBatchFull`;
  await figure({ ...noop, conditions }, () =>
    drain(backlog * SECONDS, { batchSize, localConcurrency, burstWhenBatchFull: true }),
  );
}
await boss.createQueue("later");
await figure(
  { ...system, what: "submissions", unit: "jobs/s", conditions: "send, 64 clients, no worker" },
  () => load(() => boss.send("later", {})),
);
const idleStart = { ...system, what: "idle: submission to start", unit: "ms" };
await figure({ ...idleStart, conditions: "default poll every 2 s, batches of 100" }, () =>
  pickUp({}, { batchSize: 100 }),
);
await figure({ ...idleStart, conditions: "LISTEN" }, () =>
  pickUp({ notify: true }, { batchSize: 100 }),
);

await boss.stop();

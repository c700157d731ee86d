// Restate: a server with a store of its own that calls handlers over HTTP/2. Start with `./run restate`.
import { fork, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as restate from "@restatedev/restate-sdk";
import { CLIENTS, Starts, figure, idle, load, sleep, version } from "./measure.mjs";

const step = async () => {};
const twoSteps = async (ctx) => {
  await ctx.run("first", step);
  await ctx.run("second", step);
};
const service = restate.service({
  name: "service",
  handlers: {
    noop: async () => {},
    twoSteps,
    // Tells the parent, which measures.
    tell: async (_, id) => void process.send(id),
  },
});
const workflow = restate.workflow({ name: "workflow", handlers: { run: twoSteps } });

// The handlers run in a process of their own, as they would.
if (process.argv[2] === "serve") {
  await restate.serve({ services: [service, workflow], port: Number(process.argv[3]) });
} else {
  const home = mkdtempSync(join(tmpdir(), "peers."));
  const children = [];
  try {
    await measure(home, children);
  } finally {
    for (const child of children) {
      child.kill();
      await new Promise((resolve) => child.once("exit", resolve));
    }
    rmSync(home, { recursive: true });
  }
}

async function measure(home, children) {
  const [node, ingress, admin, handlers] = await freePorts(4);
  const server = spawn(
    "restate-server",
    ["--no-logo", "--base-dir", home, "--node-name", "peers", "--bind-ip", "127.0.0.1"],
    {
      env: {
        ...process.env,
        RESTATE_BIND_PORT: node,
        RESTATE_INGRESS__BIND_PORT: ingress,
        RESTATE_ADMIN__BIND_PORT: admin,
        RESTATE_DISABLE_TELEMETRY: "true",
        RESTATE_LOG_FILTER: "error",
      },
      stdio: ["ignore", "ignore", "inherit"],
    },
  );
  children.push(server);
  const starts = new Starts();
  const handling = fork(import.meta.filename, ["serve", handlers], {
    env: { ...process.env, NODE_ENV: "production", RESTATE_LOGGING: "ERROR" },
  });
  handling.on("message", (id) => starts.tell(id));
  children.push(handling);
  const post = client(ingress);
  const register = client(admin);
  await eventually(() => register("/deployments", { uri: `http://127.0.0.1:${handlers}` }));
  await eventually(() => post("/service/noop"));

  const system = { system: "Restate", version: version("@restatedev/restate-server") };
  const called = "HTTP call to its answer, 64 clients";
  let key = 0;
  await figure(
    {
      ...system,
      what: "two-step workflows",
      unit: "workflows/s",
      conditions: `service, ${called}`,
    },
    () => load(() => post("/service/twoSteps")),
  );
  await figure(
    {
      ...system,
      what: "two-step workflows",
      unit: "workflows/s",
      conditions: `workflow, ${called}`,
    },
    () => load(() => post(`/workflow/${(key += 1)}/run`)),
  );
  await figure(
    {
      ...system,
      what: "no-op jobs",
      unit: "jobs/s",
      conditions: `service without steps, ${called}`,
    },
    () => load(() => post("/service/noop")),
  );
  await figure(
    {
      ...system,
      what: "submissions",
      unit: "jobs/s",
      conditions: "HTTP send, 64 clients, each run meanwhile",
    },
    () => load(() => post("/service/noop/send")),
  );
  // Until what was sent has been run.
  await sleep(5_000);
  await figure(
    {
      ...system,
      what: "idle: submission to start",
      unit: "ms",
      conditions: "HTTP send, message to the parent included",
    },
    () => idle(starts, (id) => post("/service/tell/send", id)),
  );
}

/** Posts JSON to a port, on connections that are kept. */
function client(port) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: CLIENTS });
  return (path, body) =>
    new Promise((resolve, reject) => {
      const headers = body === undefined ? {} : { "content-type": "application/json" };
      const request = http.request(
        { host: "127.0.0.1", port, path, method: "POST", agent, headers },
        (response) => {
          const problem =
            response.statusCode < 300 ? null : new Error(`${path}: ${response.statusCode}`);
          response
            .resume()
            .on("end", () => (problem ? reject(problem) : resolve()))
            .on("error", reject);
        },
      );
      request.on("error", reject).end(body === undefined ? undefined : JSON.stringify(body));
    });
}

/** Tries for half a minute. */
async function eventually(attempt) {
  for (let left = 60; ; left -= 1) {
    try {
      return await attempt();
    } catch (error) {
      if (left === 0) throw error;
      await sleep(500);
    }
  }
}

async function freePorts(count) {
  const servers = Array.from({ length: count }, () => net.createServer().listen(0, "127.0.0.1"));
  await Promise.all(
    servers.map((server) => new Promise((resolve) => server.once("listening", resolve))),
  );
  const ports = servers.map((server) => String(server.address().port));
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

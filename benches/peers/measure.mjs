// What the Node scripts share: clients that repeat something for a while, rounds, and one line of JSON
// per figure. `measure.py` is the same for Python.
import { createRequire } from "node:module";

/** How long each load lasts. */
export const SECONDS = Number(process.env.PEERS_SECONDS ?? 10);
/** How often each figure is measured; the median is told. */
const ROUNDS = Number(process.env.PEERS_ROUNDS ?? 3);
/** Clients of the figures that have clients, as in `cargo bench`. */
export const CLIENTS = 64;
/** The mean time between two jobs that come to an idle system, in milliseconds. */
const PAUSE = 50;
/** So long until a worker that was just started waits for jobs. */
const SETTLE = 2_000;

/** The version of an installed package. */
export function version(name) {
  return createRequire(import.meta.url)(`${import.meta.dirname}/node_modules/${name}/package.json`)
    .version;
}

/** The time in milliseconds, on a clock that all processes of the machine share. */
export function now() {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** Resolves after so many milliseconds. */
export function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** `CLIENTS` clients that do `once` one after the other for `SECONDS`; the rate, and how long one takes. */
export async function load(once) {
  const times = [];
  const began = now();
  const end = began + SECONDS * 1e3;
  const client = async () => {
    for (let start = now(); start < end; start = now()) {
      await once();
      times.push(now() - start);
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  return { value: (times.length * 1e3) / (now() - began), ...percentiles(times) };
}

/**
 * Jobs that come at random moments to a system that has nothing else to do: how long each took until it
 * was started. `submit(id)` submits one, and whoever runs it calls `starts.tell(id)`.
 */
export async function idle(starts, submit, pause = PAUSE) {
  await sleep(SETTLE);
  const samples = [];
  const end = now() + SECONDS * 1e3;
  for (let id = 0; now() < end; id += 1) {
    await sleep(2 * pause * Math.random());
    const began = now();
    samples.push(starts.of(id).then((started) => started - began));
    await submit(id);
  }
  const { p50_ms, p99_ms } = percentiles(await Promise.all(samples));
  return { value: p50_ms, p50_ms, p99_ms };
}

/** When jobs were started, by their ids. */
export class Starts {
  #waiting = new Map();

  /** Resolves when the job is started, with the time. */
  of(id) {
    return new Promise((resolve) => this.#waiting.set(id, resolve));
  }

  /** Called by the job. */
  tell(id) {
    this.#waiting.get(id)(now());
  }
}

/** Measures a figure in rounds and prints the medians. */
export async function figure({ system, version, what, unit, conditions }, round) {
  const rounds = [];
  for (let number = 1; number <= ROUNDS; number += 1) {
    console.error(`${system}: ${what}, ${conditions}: round ${number}`);
    rounds.push(await round());
  }
  const of = (key) => {
    const values = rounds.map((figures) => figures[key]).filter((value) => value !== undefined);
    return values.length === 0 ? null : Number(percentile(values, 0.5).toPrecision(4));
  };
  const [value, p50_ms, p99_ms] = [of("value"), of("p50_ms"), of("p99_ms")];
  console.log(JSON.stringify({ system, version, what, value, unit, p50_ms, p99_ms, conditions }));
}

function percentiles(times) {
  return { p50_ms: percentile(times, 0.5), p99_ms: percentile(times, 0.99) };
}

function percentile(values, share) {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

"""What the Python scripts share: clients that repeat something for a while, rounds, and one line of JSON
per figure. `measure.mjs` is the same for Node."""

import asyncio
import json
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version as version_of

# How long each load lasts.
SECONDS = float(os.environ.get("PEERS_SECONDS", "10"))
# How often each figure is measured; the median is told.
ROUNDS = int(os.environ.get("PEERS_ROUNDS", "3"))
# Clients of the figures that have clients, as in `cargo bench`.
CLIENTS = 64
# The mean time in seconds between two jobs that come to an idle system.
PAUSE = 0.05
# So many seconds until a worker that was just started waits for jobs.
SETTLE = 2

now = time.monotonic
Figures = dict[str, float]


def load(once: Callable[[], object]) -> Figures:
    """`CLIENTS` threads that do `once` again and again for `SECONDS`: the rate, and how long one takes."""
    times: list[float] = []
    began = now()

    def client() -> None:
        while (start := now()) < began + SECONDS:
            once()
            times.append(now() - start)

    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(client) for _ in range(CLIENTS)]:
            done.result()
    return {"value": len(times) / (now() - began), **percentiles(times)}


async def load_async(once: Callable[[], Awaitable[object]]) -> Figures:
    """The same with tasks of asyncio."""
    times: list[float] = []
    began = now()

    async def client() -> None:
        while (start := now()) < began + SECONDS:
            await once()
            times.append(now() - start)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return {"value": len(times) / (now() - began), **percentiles(times)}


class Starts:
    """When jobs were started, by their ids."""

    def __init__(self) -> None:
        self._began: dict[int, float] = {}
        self._took: dict[int, Future[float]] = {}
        self._lock = threading.Lock()

    def expect(self, id: int) -> "Future[float]":
        """The job is submitted now; resolves to the time that passed when it was started."""
        with self._lock:
            self._began[id] = now()
            self._took[id] = Future()
            return self._took[id]

    def tell(self, id: int) -> None:
        """Called by the job."""
        started = now()
        with self._lock:
            self._took[id].set_result(started - self._began[id])


async def idle(
    starts: Starts, submit: Callable[[int], Awaitable[object]], pause: float = PAUSE
) -> Figures:
    """Jobs that come at random moments to a system that has nothing else to do: how long each took until
    it was started. `submit(id)` submits one, and whoever runs it calls `starts.tell(id)`."""
    await asyncio.sleep(SETTLE)
    samples = []
    end = now() + SECONDS
    while now() < end:
        await asyncio.sleep(2 * pause * random.random())
        id = len(samples)
        samples.append(asyncio.wrap_future(starts.expect(id)))
        await submit(id)
    figures = percentiles(await asyncio.gather(*samples))
    return {"value": figures["p50_ms"], **figures}


class System:
    """A system under measurement: its name, and the version of its package."""

    def __init__(self, name: str, package: str) -> None:
        self.name = name
        self.version = version_of(package)

    def figure(self, what: str, unit: str, conditions: str, round: Callable[[], Figures]) -> None:
        """Measures a figure in rounds and prints the medians."""
        rounds = []
        for number in range(1, ROUNDS + 1):
            print(f"{self.name}: {what}, {conditions}: round {number}", file=sys.stderr)
            rounds.append(round())
        line: dict[str, object] = {"system": self.name, "version": self.version, "what": what}
        line |= {"value": median(rounds, "value"), "unit": unit}
        line |= {"p50_ms": median(rounds, "p50_ms"), "p99_ms": median(rounds, "p99_ms")}
        print(json.dumps(line | {"conditions": conditions}), flush=True)


def median(rounds: list[Figures], key: str) -> float | None:
    values = [figures[key] for figures in rounds if key in figures]
    return float(f"{statistics.median(values):.4g}") if values else None


def percentiles(times: list[float]) -> Figures:
    times = sorted(times)

    def at(share: float) -> float:
        return times[min(len(times) - 1, int(len(times) * share))] * 1e3

    return {"p50_ms": at(0.5), "p99_ms": at(0.99)}

"""procrastinate: jobs in PostgreSQL, run by Python. Start with `./run procrastinate`."""

import asyncio
import os

from procrastinate import App, PsycopgConnector

from measure import CLIENTS, SECONDS, Figures, Starts, System, idle, load_async, now

app = App(connector=PsycopgConnector(conninfo=os.environ["DATABASE_URL"], max_size=CLIENTS))
starts = Starts()


@app.task
async def noop() -> None:
    pass


@app.task
async def tell(id: int) -> None:
    starts.tell(id)


@app.task(queue="later")
async def later() -> None:
    pass


async def drain(jobs: int, concurrency: int) -> Figures:
    """Runs a backlog of jobs that do nothing to its end."""
    await noop.batch_defer_async(*[{}] * jobs)
    began = now()
    await app.run_worker_async(queues=["default"], wait=False, concurrency=concurrency)
    return {"value": jobs / (now() - began)}


async def pick_up() -> Figures:
    """How long it takes from defer to the start of the task, while a worker listens."""
    worker = asyncio.create_task(app.run_worker_async(queues=["default"], concurrency=10))
    figures = await idle(starts, lambda id: tell.defer_async(id=id))
    worker.cancel()
    await asyncio.wait([worker])
    return figures


def main() -> None:
    run = asyncio.new_event_loop().run_until_complete
    run(app.open_async())
    run(app.schema_manager.apply_schema_async())
    system = System("procrastinate", "procrastinate")
    jobs = int(400 * SECONDS)
    system.figure("no-op jobs", "jobs/s", "default: one at once", lambda: run(drain(jobs, 1)))
    system.figure("no-op jobs", "jobs/s", "30 at once", lambda: run(drain(jobs, 30)))
    system.figure(
        "submissions",
        "jobs/s",
        "defer, 64 clients, no worker",
        lambda: run(load_async(later.defer_async)),
    )
    system.figure(
        "idle: submission to start", "ms", "default (LISTEN), 10 at once", lambda: run(pick_up())
    )
    run(app.close_async())

"""DBOS Transact for Python: workflows whose steps are recorded in PostgreSQL. Start with
`./run dbos-python`."""

import asyncio
import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg
from dbos import DBOS

from measure import CLIENTS, SECONDS, Figures, Starts, System, idle, load, now

URL = os.environ["DATABASE_URL"]
starts = Starts()
first_start: list[float] = []


@DBOS.step()
def first() -> None:
    pass


@DBOS.step()
def second() -> None:
    pass


@DBOS.workflow()
def two_steps() -> None:
    first()
    second()


@DBOS.workflow()
def noop() -> None:
    if not first_start:
        first_start.append(now())


@DBOS.workflow()
def tell(id: int) -> None:
    starts.tell(id)


def drain(jobs: int) -> Figures:
    """Runs a backlog of workflows without steps to its end. They wait until their queue is registered."""
    queue = f"drain-{uuid.uuid4()}"
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda _: DBOS.enqueue_workflow(queue, noop), range(jobs)))
    first_start.clear()
    DBOS.register_queue(queue)
    unfinished = (
        "select from dbos.workflow_status where queue_name = %s and status <> 'SUCCESS' limit 1"
    )
    with psycopg.connect(URL, autocommit=True) as database:
        while database.execute(unfinished, [queue]).rowcount > 0:
            time.sleep(0.02)
    return {"value": jobs / (now() - first_start[0])}


def pick_up(**options: float) -> Figures:
    """How long it takes from an enqueue to the start of the workflow."""
    queue = f"tell-{uuid.uuid4()}"
    DBOS.register_queue(queue, **options)
    return asyncio.run(
        idle(starts, lambda id: asyncio.to_thread(DBOS.enqueue_workflow, queue, tell, id))
    )


def submit() -> None:
    DBOS.enqueue_workflow("later", noop)


def main() -> None:
    DBOS(
        config={
            "name": "peers",
            "system_database_url": URL,
            # One per client: with the default of 20 the slowest ones wait for seconds.
            "sys_db_pool_size": CLIENTS,
            "log_level": "ERROR",
        }
    )
    DBOS.launch()
    system = System("DBOS (Python)", "dbos")
    system.figure(
        "two-step workflows",
        "workflows/s",
        "in the same process, 64 threads",
        lambda: load(two_steps),
    )
    system.figure(
        "no-op jobs",
        "jobs/s",
        "queue, default: no limit at once",
        lambda: drain(int(400 * SECONDS)),
    )
    system.figure(
        "submissions", "jobs/s", "to a queue, 64 threads, no worker", lambda: load(submit)
    )
    started = ("idle: submission to start", "ms")
    system.figure(*started, "queue polled every 1,000 ms (default)", pick_up)
    system.figure(*started, "queue polled every 10 ms", lambda: pick_up(polling_interval_sec=0.01))
    DBOS.destroy()

"""Prefect: a server on PostgreSQL that is told of every state over HTTP. Start with `./run prefect`."""

import asyncio
import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from threading import Thread

import httpx

from measure import CLIENTS, Figures, Starts, System, idle, load, load_async, now

WAIT = 60  # seconds for the server to start


def settings(home: str, port: int) -> dict[str, str]:
    return {
        "PREFECT_HOME": home,
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_API_DATABASE_CONNECTION_URL": os.environ["DATABASE_URL"].replace(
            "://", "+asyncpg://"
        ),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
        "DO_NOT_TRACK": "1",
    }


@contextlib.contextmanager
def server() -> Iterator[None]:
    """A Prefect server on a free port, and this process as its client."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(settings(home, port))
        command = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            wait_for(f"http://127.0.0.1:{port}/api/health")
            yield
        finally:
            child.terminate()
            child.wait()


def wait_for(url: str) -> None:
    deadline = now() + WAIT
    while True:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url).status_code == 200:
                return
        if now() > deadline:
            raise TimeoutError(f"no answer from {url}")
        time.sleep(0.5)


def measure() -> None:
    # Prefect reads its settings when it is imported.
    from prefect import flow, get_client, task
    from prefect.task_worker import serve

    system = System("Prefect", "prefect")
    starts = Starts()
    # Lists, since appending needs no lock.
    submitted: list[None] = []
    done: list[None] = []

    @task
    async def first() -> None:
        pass

    @task
    async def second() -> None:
        pass

    @flow
    async def two_tasks() -> None:
        await first()
        await second()

    @task
    def noop() -> None:
        done.append(None)

    @task
    def tell(id: int) -> None:
        starts.tell(id)

    async def create_runs() -> Figures:
        async with get_client() as client:
            flow_id = await client.create_flow(two_tasks)
            deployment = await client.create_deployment(flow_id, "peers")
        limits = httpx.Limits(max_connections=CLIENTS)
        async with httpx.AsyncClient(timeout=60, limits=limits) as http:
            url = f"{os.environ['PREFECT_API_URL']}/deployments/{deployment}/create_flow_run"

            async def create() -> None:
                (await http.post(url, json={})).raise_for_status()

            return await load_async(create)

    def background() -> Figures:
        """Background tasks, each run by the worker; what is left after the load counts as time."""
        submitted.clear()
        done.clear()
        began = now()

        def submit() -> None:
            noop.delay()
            submitted.append(None)

        load(submit)
        while len(done) < len(submitted):
            time.sleep(0.02)
        return {"value": len(done) / (now() - began)}

    def pick_up() -> Figures:
        return asyncio.run(idle(starts, lambda id: asyncio.to_thread(tell.delay, id), pause=0.25))

    system.figure(
        "two-step workflows",
        "workflows/s",
        "flow called in the same process, 64 at once",
        lambda: asyncio.run(load_async(two_tasks)),
    )
    system.figure(
        "submissions",
        "jobs/s",
        "HTTP create_flow_run, 64 clients, no worker",
        lambda: asyncio.run(create_runs()),
    )
    Thread(target=lambda: serve(noop, tell, limit=CLIENTS), daemon=True).start()
    time.sleep(2)  # Until the worker has subscribed.
    system.figure(
        "no-op jobs", "jobs/s", "background tasks, delay from 64 threads included", background
    )
    system.figure(
        "idle: submission to start",
        "ms",
        "background task, delay to the start of its function",
        pick_up,
    )


def main() -> None:
    with server():
        measure()

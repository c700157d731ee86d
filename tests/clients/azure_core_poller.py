"""Polls four jobsets with the stock poller of azure-core and tells how it saw them end.

    pip install azure-core requests
    python tests/clients/azure_core_poller.py http://127.0.0.1:8080
"""

import sys
import threading
import urllib.request

from azure.core import PipelineClient
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import HeadersPolicy, RequestIdPolicy, RetryPolicy
from azure.core.polling import LROPoller
from azure.core.polling.base_polling import LROBasePolling
from azure.core.rest import HttpRequest

PATIENCE_SECONDS = 20


def outcome(base, job, cancel_after=None):
    """The status by which the poller stopped, or `still-polling`."""
    client = PipelineClient(base, policies=[RequestIdPolicy(), HeadersPolicy(), RetryPolicy()])
    response = client._pipeline.run(HttpRequest("POST", base + "/v1.0/jobsets", json=job))
    location = response.http_response.headers["Operation-Location"]
    if cancel_after is not None:
        request = urllib.request.Request(location, method="DELETE")
        threading.Timer(cancel_after, urllib.request.urlopen, [request]).start()
    poller = LROPoller(client, response, lambda r: r.http_response.json(), LROBasePolling(1))
    try:
        poller.result(PATIENCE_SECONDS)
    except HttpResponseError as error:
        reason = error.error and (error.error.code, error.error.message)
        return f"{poller.status()} error={reason}"
    return poller.status() if poller.done() else "still-polling"


def shell(text, **fields):
    return {"steps": [{"name": "only", "run": {"shell": text}}], **fields}


def main():
    base = sys.argv[1]
    cases = [
        ("succeeded", shell("sleep 1"), None),
        ("failed", shell("exit 3"), None),
        ("canceled", shell("sleep 60"), 1.5),
        ("failed", shell("sleep 60", deadline="2s"), None),
    ]
    is_good = True
    for expected, job, cancel_after in cases:
        seen = outcome(base, job, cancel_after)
        is_good = is_good and seen.split()[0] == expected
        print(f"{expected}: {seen}")
    sys.exit(0 if is_good else 1)


main()

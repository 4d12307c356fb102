"""Refreshes in a Celery worker: the web process hands a request over, the task asks; both share the cache."""

import os

from celery import Celery

from rapidfailover import FailoverClient, FileCache, RefreshRequest

app = Celery("celery_tasks", broker=os.environ.get("BROKER", "redis://"))
client = FailoverClient(cache=FileCache("copies"), refresh=lambda request: refresh.delay(*request))


@app.task(ignore_result=True)
def refresh(platform, endpoint, params):
    client.refresh_now(RefreshRequest(platform, endpoint, params))

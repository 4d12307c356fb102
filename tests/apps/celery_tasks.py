"""Refreshes asked by a Celery worker: the web process hands the request over, the task runs it, the cache is shared."""

import os

from celery import Celery
from providers import registry

from rapidfailover import FailoverClient, FileCache, RefreshRequest

celery = Celery("celery_tasks", broker=os.environ.get("BROKER", "filesystem://"))
celery.conf.broker_transport_options = {"data_folder_in": "queue", "data_folder_out": "queue"}
client = FailoverClient(registry(), cache=FileCache("copies"), refresh=lambda request: refresh.delay(*request))


@celery.task(ignore_result=True)
def refresh(platform, endpoint, params):
    client.refresh_now(RefreshRequest(platform, endpoint, params))

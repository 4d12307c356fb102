"""For the tests: the app that APP names, asking the local RapidAPI in place of the real one. An app of yours has none of it.

Where STORE is the URL of a Redis, the app's client is made with that in place of its file.
"""

import json
import os
from dataclasses import replace
from importlib import import_module

import rapidfailover

registry, told = import_module("rapidfailover.registry"), dict(json.loads(os.environ["PROVIDERS"]))
registry.PROVIDERS = {"tiktok": [replace(config, base_url=told[config.name]) for config in registry.PROVIDERS["tiktok"]]}
if "STORE" in os.environ:
    store = import_module("rapidfailover.redis").RedisStore(os.environ["STORE"])
    made = rapidfailover.FailoverClient
    rapidfailover.FailoverClient = lambda **options: made(**{**options, "store": store})
app = import_module(os.environ["APP"]).app
if os.environ["APP"] == "celery_tasks":
    app.conf.broker_transport_options = {"data_folder_in": "queue", "data_folder_out": "queue"}

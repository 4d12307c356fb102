"""For the tests: the app that APP names, asking the local RapidAPI in place of the real one. An app of yours has none of it."""

import json
import os
from importlib import import_module

from rapidfailover import ProviderConfig

import_module("rapidfailover.registry").PROVIDERS = {"tiktok": [
    ProviderConfig(name, f"{name}.p.rapidapi.com", number, base_url=url)
    for number, (name, url) in enumerate(json.loads(os.environ["PROVIDERS"]))]}
app = import_module(os.environ["APP"]).app
if os.environ["APP"] == "celery_tasks":
    app.conf.broker_transport_options = {"data_folder_in": "queue", "data_folder_out": "queue"}

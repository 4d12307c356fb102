"""A Flask app: a view, a health page, settings from FLASK_*; its workers share a file."""

from flask import Flask

from rapidfailover import AllProvidersFailed, FailoverClient, NotFound
from rapidfailover.sqlite import SQLiteStore

app = Flask(__name__)
app.config.update(SHARED="shared.db", TIMEOUT=5.0)
app.config.from_prefixed_env()
client = FailoverClient(store=SQLiteStore(app.config["SHARED"]), timeout=app.config["TIMEOUT"])


@app.get("/user/<name>")
def user(name):
    try:
        result = client.call("tiktok", "/user/info", {"unique_id": name})
    except NotFound:
        return {"error": f"there is no {name}"}, 404
    except AllProvidersFailed:
        return {"error": "no data now"}, 502
    profile = result.data["data"]["user"]
    return {"user": profile["uniqueId"], "provider": result.provider, "stale": result.stale}


@app.get("/health")
def health():
    return client.registry.snapshot()

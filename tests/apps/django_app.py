"""A Django project in one file: a view, a health page; its workers share a file."""

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

from rapidfailover import AllProvidersFailed, FailoverClient, NotFound
from rapidfailover.sqlite import SQLiteStore

settings.configure(
    ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="not-a-real-key",
    RAPIDFAILOVER={"store": SQLiteStore("shared.db"), "timeout": 5.0},
)
client = FailoverClient(**settings.RAPIDFAILOVER)


def user(request, name):
    try:
        result = client.call("tiktok", "/user/info", {"unique_id": name})
    except NotFound:
        return JsonResponse({"error": f"there is no {name}"}, status=404)
    except AllProvidersFailed:
        return JsonResponse({"error": "no data now"}, status=502)
    profile = result.data["data"]["user"]
    return JsonResponse({"user": profile["uniqueId"], "provider": result.provider, "stale": result.stale})


def health(request):
    return JsonResponse(client.registry.snapshot())


urlpatterns = [path("user/<str:name>", user), path("health", health)]
app = get_wsgi_application()

"""A Django project in one file: a view, a health page, settings; Django's cache keeps the copies."""

import os

from django.conf import settings
from django.core.cache import cache
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

from rapidfailover import AllProvidersFailed, FailoverClient, NotFound

settings.configure(
    ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="not-a-real-key", RAPIDFAILOVER={"timeout": 5.0},
    CACHES={"default": {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
                        "LOCATION": os.environ.get("COPIES", "copies")}},
)
client = FailoverClient(cache=cache, **settings.RAPIDFAILOVER)


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

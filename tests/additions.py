"""``pytest -p additions``: the product with a provider, a platform and an event more. All else is as it was."""

import logging
from types import MappingProxyType

from rapidfailover import ProviderConfig, catalog, events

PROVIDER = ProviderConfig("tiktok-new", "tiktok-new.p.rapidapi.com", 4, routes=catalog._OwnDialect("tiktok"))  # as the catalogue has them
PLATFORM = ProviderConfig("reddit-new", "reddit-new.p.rapidapi.com", 1)

catalog.PROVIDERS = MappingProxyType({**catalog.PROVIDERS, "tiktok": (*catalog.PROVIDERS["tiktok"], PROVIDER), "reddit": (PLATFORM,)})
events.KINDS["new"] = events.Kind(logging.INFO, "something new at %(platform)s", ("platform",))

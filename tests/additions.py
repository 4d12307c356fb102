"""``pytest -p additions``: the product with a provider, a platform, an event and a command more. All else is as it was."""

import logging
from types import MappingProxyType

from rapidfailover import ProviderConfig, catalog, events

PROVIDER = ProviderConfig("tiktok-new", "tiktok-new.p.rapidapi.com", 4, routes=catalog._OwnDialect("tiktok"))  # as the catalogue has them
PLATFORM = ProviderConfig("reddit-new", "reddit-new.p.rapidapi.com", 1)

catalog.PROVIDERS = MappingProxyType({**catalog.PROVIDERS, "tiktok": (*catalog.PROVIDERS["tiktok"], PROVIDER), "reddit": (PLATFORM,)})
events.KINDS["new"] = events.Kind(logging.INFO, "something new at %(platform)s", ("platform",))

from rapidfailover import cli  # noqa: E402  now, for it looks at the catalogue when it is loaded


def hello(arguments, registry):
    print("hello,", arguments.name)
    return 0


def add_others(command, others=cli._add_others):  # where the product's own commands are added
    others(command)
    command("hello", hello, "greet somebody").add_argument("name", metavar="NAME")


cli._add_others = add_others  # no plugin's place: as somebody who edits it would

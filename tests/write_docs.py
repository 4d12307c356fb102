"""The parts of the docs that are made from the code. ``python tests/write_docs.py`` writes them into the pages.

test_docs.py says where a page differs from what is made here.
"""

import inspect
import re
from pathlib import Path

import rapidfailover
from rapidfailover import MATRIX, redis, sqlite, testing
from rapidfailover.api import question_of
from rapidfailover.catalog import PAGES, PROVIDERS, serving
from rapidfailover.guide import GUIDE

DOCS = Path(__file__).parent.parent / "docs"

GROUPS = {  # the headings of the reference, and what stands beneath
    "Functions": ["call", "call_with_failover", "pages", "batch", "get_tiktok_user", "get_instagram_profile",
                  "get_youtube_video", "get_twitter_user", "get_linkedin_profile", "check_provider_health", "configure",
                  "default_client"],
    "The client": ["FailoverClient"],
    "Results": ["Result", "Attempt", "Answer"],
    "Providers": ["ProviderRegistry", "ProviderConfig", "Route", "Paging", "RapidAPIKey"],
    "Caches and stores": ["LRUTTLCache", "FileCache", "sqlite.SQLiteStore", "redis.RedisStore"],
    "Other values": ["Rule", "RefreshRequest"],
    "Testing": ["testing.FakeRapidAPI", "testing.using", "testing.local_registry"],
}
ELSEWHERE = {"MATRIX", "registry"}  # no functions and no classes: said in a sentence of the page
PUBLIC = {  # where a class has more for other modules of ours
    "ProviderRegistry": ["platforms", "add", "get_available_providers", "mark_error", "mark_success", "hold", "enable",
                         "disable", "reset", "snapshot"],
    "SQLiteStore": [], "RedisStore": [], "RapidAPIKey": [],
}
MORE = {  # attributes, which have no docstring
    "FailoverClient": {"registry": "Its ProviderRegistry.", "cache": "Where it keeps the copies."},
    "ProviderRegistry": {"platforms": "The names of the platforms."},
    "FakeRapidAPI": {"registry": "A ProviderRegistry on it.", "providers": "What makes such a registry.",
                     "requests": "What arrived, also when it was then failed."},
}


def find(name):
    if "." in name:
        module, name = name.split(".")
        return getattr({"redis": redis, "sqlite": sqlite, "testing": testing}[module], name)
    return getattr(rapidfailover, name)


def default(value):
    if value is MATRIX:
        return "MATRIX"
    if callable(value):
        return f"{value.__module__}.{value.__name__}"
    return repr(value)


def signature(name, made):
    """As it is called: names and defaults."""
    parts, before = [], None
    for parameter in inspect.signature(made).parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and before is not parameter.KEYWORD_ONLY:
            parts.append("*")
        before = parameter.kind
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        given = "" if parameter.default is parameter.empty else f"={default(parameter.default)}"
        parts.append(f"{stars}{parameter.name}{given}")
    return f"{name}({', '.join(parts)})"


def first(text):
    """The first paragraph of a docstring, in Markdown."""
    return " ".join(text.split("\n\n")[0].split()).replace("``", "`")


def members(made):
    """The methods and attributes of a class, with what they do."""
    more = MORE.get(made.__name__, {})
    yield from ((f"`.{name}`", told) for name, told in more.items())
    ours = [base for base in made.__mro__ if base.__module__.startswith("rapidfailover")]
    for name, member in [one for base in reversed(ours) for one in vars(base).items()]:
        if name.startswith("_") or name in more or name not in PUBLIC.get(made.__name__, [name]):
            continue
        if isinstance(member, property):
            yield f"`.{name}`", member.__doc__
        elif inspect.isfunction(member):
            yield f"`.{signature(name, member)}`", member.__doc__


def fields(made):
    """Of a named tuple, with the comments that stand beside them."""
    above = ""
    for line in inspect.getsource(made).splitlines():
        found = re.match(r"    ([a-z]\w*): [^#]*(?:# (.*))?$", line)
        if found and found.group(1) in getattr(made, "_fields", ()):
            yield f"`.{found.group(1)}`", found.group(2) or above
        above = line.strip()[2:] if line.strip().startswith("# ") else ""


def reference():
    """The whole page."""
    lines = ["# Reference", "",
             "Names and defaults, made from the code. Times are in seconds. Types stand in the code, which is fully typed.",
             "All names of this page come from `rapidfailover`; `testing`, `redis` and `sqlite` are modules of it. `MATRIX` is the",
             "[matrix](matrix.md), and `registry` is the registry of the default client. All errors are on [a page of their own](errors.md).", ""]
    for group, names in GROUPS.items():
        lines += [f"## {group}", ""]
        if not any(inspect.isclass(find(name)) for name in names):
            lines += ["| name | what |", "|---|---|", *(row(f"`{signature(name, find(name))}`", find(name).__doc__) for name in names), ""]
            continue
        for name in names:
            made = find(name)
            if not inspect.isclass(made):
                lines += [f"`{signature(name, made)}`", "", first(made.__doc__), ""]
                continue
            is_tuple = hasattr(made, "_fields")
            lines += [f"### {name}", "", *([] if is_tuple else [f"`{signature(name, made)}`", ""]), first(made.__doc__), ""]
            rows = list(fields(made) if is_tuple else members(made))
            if rows:
                lines += ["| name | what |", "|---|---|", *(row(*each) for each in rows), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def row(what, told):
    return f"| {cell(what)} | {cell(first(told or ''))} |"


def cell(text):
    return text.replace("|", "\\|")


def providers():
    """The rows of all providers."""
    for platform, members in PROVIDERS.items():
        for config in members:
            page = PAGES.get(config.host)
            listing = config.host.split(".")[0]
            status = config.status if config.enabled else "disabled"
            yield f"| {platform} | {config.priority} | `{config.name}` | {f'[{listing}]({page})' if page else listing} | {status} | {config.use_case} |"


def endpoints():
    """The rows of all endpoints."""
    for platform, found in GUIDE.items():
        for told in found.values():
            params = ", ".join(f"[{name[:-1]}]" if name.endswith("?") else name for name in told.params)
            by = ", ".join(f"{config.name} ({told.by[config.name].grade if config.name in told.by else told.grade})"
                           for config in serving(told, PROVIDERS[platform]))
            yield f"| {platform} | `{told.path}` | {params} | {told.page_param} | {by} |"


def routes():
    """The rows of the endpoints that a second provider serves in a dialect of its own."""
    for platform, members in PROVIDERS.items():
        for config in members[1:]:
            for path in GUIDE[platform]:
                route = (config.routes or {}).get(path)
                if route is not None and route.path != path:
                    yield f"| {platform} | `{path}` | {config.name} | `{route.method} {route.path}` |"


def fields_of_profiles():
    """The rows of what a profile holds, by the function that asks for it."""
    for name in (name for name in GROUPS["Functions"] if name.startswith("get_")):
        platform = name.split("_")[1]
        endpoint, _ = question_of(platform, "x")
        told = GUIDE[platform][endpoint]
        for field in told.fields:
            missing = [by for by, what in told.by.items() if what.fields is not None and field.path not in what.fields]
            yield f"| `{name}` | `{field.path}` | {field.kind} | {field.grade} | {', '.join(missing)} |"


TABLES = {"| platform | priority | provider": providers, "| platform | endpoint | params": endpoints,
          "| platform | endpoint | provider | is asked": routes, "| function | field": fields_of_profiles}


def providers_page(text):
    """The page with its tables made anew."""
    for head, rows in TABLES.items():
        text = with_rows(text, head, rows())
    return text


def benchmarks_page(text):
    """The page with the figures of the last run."""
    results = (DOCS.parent / "tests" / "benchmarks" / "results.md").read_text(encoding="utf-8")
    results = results.replace("the strategy's own code", "the code of the source document")
    for head in ("| | right data", "| right data in", "| a call by", "| bound |", "| × bare session | identity"):
        text = with_rows(text, head, results[results.index(head):].split("\n\n")[0].splitlines()[2:])
    return text


def with_rows(text, head, rows):
    """The text with these rows in the table whose header line begins like this."""
    before, lines = text[:text.index(head)], text[text.index(head):].splitlines()
    end = next((number for number, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return before + "\n".join([*lines[:2], *rows, *lines[end:]]) + "\n"


if __name__ == "__main__":
    (DOCS / "reference.md").write_text(reference(), encoding="utf-8")
    for name, made in (("providers.md", providers_page), ("benchmarks.md", benchmarks_page)):
        (DOCS / name).write_text(made((DOCS / name).read_text(encoding="utf-8")), encoding="utf-8")

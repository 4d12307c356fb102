"""The commands about the catalogue: providers, endpoints, verify and matrix."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from typing import Any, Iterator

from .catalog import PAGES, PROVIDERS, serving
from .cli_calls import client_of
from .cli_output import FAILED, FRESH, Stop, as_json, lines, put, table, tell
from .errors import FailoverError, UnknownPlatform
from .guide import GUIDE, Endpoint
from .matrix import MATRIX
from .registry import ProviderRegistry
from .verify import Finding, plan, verify

__all__ = ["endpoints", "matrix", "providers", "verify_all"]


def providers(arguments: argparse.Namespace, registry: ProviderRegistry | None) -> int:
    with client_of(arguments, registry) as client:
        known = client.registry.snapshot()
    rows = [
        {
            "platform": platform,
            "priority": state["priority"],
            "provider": name,
            "status": state["status"] if state["enabled"] else "disabled",
            "advice": state["advice"],
            "host": state["host"],
            "page": PAGES.get(state["host"]),
            "subscribed": _subscribed(state),
        }
        for platform, members in known.items()
        for name, state in members.items()
    ]
    if arguments.json:
        put(as_json(rows, indent=2))
        return FRESH
    table(
        ("platform", "", "provider", "status", "subscribed", "host", "page", "advice"),
        [
            (
                row["platform"],
                str(row["priority"]),
                row["provider"],
                row["status"],
                {True: "yes", False: "no", None: "not known"}[row["subscribed"]],
                row["host"],
                row["page"] or "not known",
                row["advice"],
            )
            for row in rows
        ],
    )
    return FRESH


def _subscribed(state: Any) -> bool | None:
    """True where an answer told a plan's quota, which only subscribers get; else not known."""
    return True if state["quota"] else None


def endpoints(arguments: argparse.Namespace, registry: ProviderRegistry | None) -> int:
    if arguments.platform is not None and arguments.platform not in GUIDE:
        raise UnknownPlatform(
            f"no endpoints of {arguments.platform!r} are catalogued; known: {', '.join(GUIDE)}"
        )
    for platform in GUIDE if arguments.platform is None else [arguments.platform]:
        for entry in GUIDE.get(platform, {}).values():
            lines(f"{platform} {entry.path}  ({entry.method}, {entry.grade})", *_described(entry))
    return FRESH


def _described(entry: Endpoint) -> Iterator[str]:
    yield "  params: " + ", ".join(
        f"[{name[:-1]}]" if name.endswith("?") else name for name in entry.params
    )
    yield "  served by: " + ", ".join(
        f"{provider.name}"
        f" ({entry.by[provider.name].grade if provider.name in entry.by else entry.grade})"
        f"{'' if provider.enabled else ', disabled'}"
        for provider in serving(entry, PROVIDERS[entry.platform])
    )
    if entry.pages is not None:
        yield f"  pages: by {entry.page_param}"
    for field in entry.fields:
        yield f"  {field.grade} {field.path}: {field.kind}"


def verify_all(arguments: argparse.Namespace, registry: ProviderRegistry | None) -> int:
    registry = registry or ProviderRegistry()
    checks = plan(registry, arguments.platforms or registry.platforms)
    counts = Counter(check.provider.name for check in checks)
    tell(
        f"{len(checks)} metered calls at most:"
        f" {', '.join(f'{name} {count}' for name, count in counts.items())}"
    )
    if checks and not arguments.yes and not _agreed():
        tell("nothing was asked; --yes asks without a question")
        return FAILED
    times = {
        name: getattr(arguments, name)
        for name in ("timeout", "deadline")
        if getattr(arguments, name) is not None
    }
    found = []
    try:
        for finding in verify(checks, record=arguments.record, **times):
            found.append(finding)
            lines(*_findings(finding))
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as problem:
        if isinstance(problem, FailoverError) or problem.filename is None:
            raise
        raise Stop(f"{problem.filename}: {problem.strerror}") from None
    wrong = [finding for finding in found if not finding.is_as_told]
    confirmed = [finding for finding in found if finding.is_as_told and finding.answered]
    lines(f"{len(confirmed)} of {len(found)} are as the catalogue says")
    return FAILED if wrong else FRESH


def _agreed() -> bool:
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin is not None and sys.stdin.readline().strip().lower() in ("y", "yes")


def _findings(finding: Finding) -> Iterator[str]:
    mark = (
        "ok   "
        if finding.is_as_told and finding.answered
        else "?    " if finding.is_as_told else "WRONG"
    )
    asked = f"{mark} {finding.check.provider.name} {finding.check.entry.path}"
    if not finding.answered:
        yield f"{asked}: {finding.detail}"
        return
    yield (
        f"{asked}: answered, {len(finding.there)} fields there, {len(finding.missing)} missing, "
        f"{len(finding.changed)} changed, {len(finding.new)} new"
    )
    for name in ("missing", "changed", "new"):
        paths = getattr(finding, name)
        if paths:
            more = f" and {len(paths) - 12} more" if len(paths) > 12 else ""
            yield f"        {name}: {', '.join(paths[:12])}{more}"


def matrix(arguments: argparse.Namespace, registry: ProviderRegistry | None) -> int:
    table(
        ("status", "action", "retry", "switch", "fault"),
        [
            (str(status), rule.action, *("yes" if flag else "no" for flag in rule[1:]))
            for status, rule in MATRIX.items()
        ],
    )
    return FRESH

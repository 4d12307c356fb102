"""Checks whether providers still answer as the catalogue says: asks each provider once for each
endpoint, and compares.

Every question is a metered call. It goes through a client of its own, so that no circuit of the
caller's is touched. It is not sent again after an error, so that the number of calls is known
beforehand (except where the server has closed a kept connection meanwhile).
"""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple, Sequence

from .catalog import serving
from .client import FailoverClient
from .config import ProviderConfig, Question, Route, encode_query
from .errors import AllProvidersFailed, AuthenticationFailed, FailoverError, RequestRefused
from .guide import GUIDE, Endpoint, Field, Taken, look
from .matrix import MATRIX
from .registry import ProviderRegistry
from .transport import outgoing

__all__ = ["Check", "Finding", "plan", "verify"]


class Check(NamedTuple):
    """One question that will be asked."""

    provider: ProviderConfig
    entry: Endpoint
    grade: str  # how sure it is that this provider serves it
    fields: tuple[Field, ...]  # that the provider gives


class Finding(NamedTuple):
    check: Check
    answered: bool
    detail: str = ""  # why not
    there: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()  # of another type
    new: tuple[str, ...] = ()  # which the catalogue does not know: no contradiction

    @property
    def is_as_told(self) -> bool:
        """Nothing contradicts the catalogue. Of what it grades ``?`` it says nothing."""
        return self.check.grade == "?" or self.answered and not self.missing and not self.changed


def plan(registry: ProviderRegistry, platforms: Sequence[str]) -> list[Check]:
    """What there is to ask of the enabled providers. UnknownPlatform."""
    checks = []
    for platform in dict.fromkeys(platforms):
        providers = registry.get_available_providers(platform)
        for provider in providers:
            for entry in GUIDE.get(platform, {}).values():
                if provider in serving(entry, providers):
                    by = entry.by.get(provider.name)
                    grade = by.grade if by else entry.grade
                    wanted = None if by is None else by.fields
                    fields = entry.fields if wanted is None else _known(entry, wanted, grade)
                    checks.append(Check(provider, entry, grade, fields))
    return checks


def verify(
    checks: Sequence[Check],
    api_key: Any = None,
    record: Path | None = None,
    timeout: float = 15.0,
    deadline: float | None = None,
) -> Iterator[Finding]:
    """Ask; a finding for each. ``timeout`` and ``deadline`` are a client's: 25 s for one question,
    or the timeout if that is longer.

    A key that is refused ends it: AuthenticationFailed. OSError where ``record`` is no folder.
    """
    deadline = max(timeout, 25.0) if deadline is None else deadline
    if record is not None:
        record.mkdir(parents=True, exist_ok=True)  # before anything is paid for
    answers: dict[tuple[str, str], Any] = {}
    asked: dict[str, _Asked] = {}
    try:
        for check in checks:
            name = f"{check.entry.platform} {check.provider.name}"
            if name not in asked:
                asked[name] = _Asked(
                    check.entry.platform, check.provider, api_key, timeout, deadline
                )
            try:
                params = _example(check, answers)
            except LookupError as problem:
                yield Finding(check, False, f"not asked: {problem.args[0]}")
                continue
            try:
                data, raw = asked[name].ask(check.entry, params)
            except AuthenticationFailed:
                raise
            except RequestRefused as refused:
                yield Finding(check, False, f"{refused.status} {refused.detail}")
            except AllProvidersFailed as failed:
                yield Finding(check, False, _why(failed))
            else:
                answers[check.provider.name, check.entry.path] = data
                if record is not None:
                    _write(record, check, asked[name].sent(check.entry, params), raw)
                yield _compared(check, data)
    finally:
        for each in asked.values():
            each.client.close()


class _Asked:
    """One provider alone, whose circuits never open, and its last answer before its route adapted
    that.
    """

    def __init__(
        self, platform: str, provider: ProviderConfig, api_key: Any, timeout: float, deadline: float
    ) -> None:
        self.platform = platform
        self.raw: list[Any] = []
        self.routes: dict[str, Route] = {}
        for path in GUIDE[platform]:
            try:
                route = Route(path) if provider.routes is None else provider.routes[path]
            except KeyError:
                route = Route(path)
            self.routes[path] = route
        wrapped = {
            path: route._replace(adapt=self._recording(route.adapt))
            for path, route in self.routes.items()
        }
        registry = ProviderRegistry(
            {platform: [replace(provider, routes=wrapped)]}, error_threshold=10**6
        )
        # a plan's pace is no finding: after a 429 that says for how long, once more
        matrix = {
            status: rule._replace(retry=rule.retry and status == 429)
            for status, rule in MATRIX.items()
        }
        self.client = FailoverClient(
            registry,
            api_key=api_key,
            matrix=matrix,
            refresh=False,
            timeout=timeout,
            deadline=deadline,
        )

    def _recording(self, adapt: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
        def record(data: Any) -> Any:
            self.raw[:] = [copy.deepcopy(data)]
            return data if adapt is None else adapt(data)

        return record

    def ask(self, entry: Endpoint, params: dict[str, Any]) -> tuple[Any, Any]:
        """(in the platform's shape, as it came)."""
        return self.client.call(self.platform, entry.path, params).data, self.raw[0]

    def sent(self, entry: Endpoint, params: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """(path, query and body) as the provider was asked."""
        route = self.routes[entry.path]
        path = outgoing(
            Question(self.platform, entry.path, params, encode_query(params), ""), route
        ).path
        query = dict(route.params(dict(params))) if route.params else {} if route.json else params
        return path, {**query, **(route.json(dict(params)) if route.json else {})}


def _known(entry: Endpoint, paths: Sequence[str], grade: str) -> tuple[Field, ...]:
    """The fields at these paths; one that only another provider gives is of any kind."""
    kinds = {field.path: field for field in entry.fields}
    return tuple(kinds.get(path, Field(path, "", grade)) for path in paths)


def _example(check: Check, answers: dict[tuple[str, str], Any]) -> dict[str, Any]:
    """The params to ask with. LookupError where an earlier answer should have given one."""
    params: dict[str, Any] = {}
    for name, value in check.entry.example.items():
        if isinstance(value, Taken):
            found = [
                look(data, value.path)
                for (provider, path), data in answers.items()
                if path == value.endpoint
                and (provider == check.provider.name or value.form != "{}")
            ]
            if not any(found):  # an id is valid only where it came from, a link everywhere
                raise LookupError(f"{value.endpoint} gave no {value.path}")
            value = value.form.format(next(one for one in found if one))
        params[name] = value
    return params


def _why(failed: FailoverError) -> str:
    attempts = getattr(failed, "attempts", ())
    if not attempts:
        return f"not asked: {failed}"
    last = attempts[-1]
    return f"{last.status or 'no answer'} {last.action}{f' ({last.detail})' if last.detail else ''}"


_KINDS: dict[str, Any] = {
    "text": str,
    "number": (int, float),
    "bool": bool,
    "list": list,
    "object": dict,
    "null": type(None),
}


def _compared(check: Check, data: Any) -> Finding:
    there, missing, changed = [], [], []
    for field in check.fields:
        found, value = _at(data, field.path)
        if not found:
            missing.append(field.path)
        elif found == "nobody knows":
            continue
        elif field.kind and value is not None and not _is_of(value, field.kind):
            changed.append(f"{field.path}: {_kind_of(value)}, not {field.kind}")
        else:
            there.append(field.path)
    known = {field.path for field in (*check.entry.fields, *check.fields)}
    parents = {path.rpartition(".")[0] for path in known}
    new = [
        path
        for parent in sorted(parents)
        for path in _names(data, parent)
        if not any(one == path or one.startswith((f"{path}.", f"{path}[]")) for one in known)
    ]
    return Finding(check, True, "", tuple(there), tuple(missing), tuple(changed), tuple(new))


def _at(data: Any, path: str) -> tuple[str, Any]:
    """("there", value), ("", None), or ("nobody knows", None) for the fields of an empty list."""
    if isinstance(look(data, "data"), list) and path.startswith("data.") and look(data, "data"):
        data = {**data, "data": data["data"][0]}  # linkedin-data-scraper's list of one (C)
    for name in path.split("."):
        if not isinstance(data, dict) or name.replace("[]", "") not in data:
            return "", None
        data = data[name.replace("[]", "")]
        if name.endswith("[]"):
            if data == []:
                return "nobody knows", None
            data = data[0] if isinstance(data, list) else None
    return "there", data


def _names(data: Any, parent: str) -> list[str]:
    if not parent:
        return list(data) if isinstance(data, dict) else []
    _, value = _at(data, parent)
    return [f"{parent}.{name}" for name in value] if isinstance(value, dict) else []


def _is_of(value: Any, kind: str) -> bool:
    return any(
        isinstance(value, _KINDS[one]) and (one == "bool" or not isinstance(value, bool))
        for one in kind.split(" or ")
    )


def _kind_of(value: Any) -> str:
    return next(
        (
            kind
            for kind in ("bool", "text", "number", "list", "object")
            if isinstance(value, _KINDS[kind])
        ),
        "null",
    )


def _write(folder: Path, check: Check, sent: tuple[str, dict[str, Any]], raw: Any) -> None:
    """The answer as FakeRapidAPI(answers=folder) plays it.

    What echoed a secret was masked before it came here.
    """
    record = {
        "platform": check.entry.platform,
        "provider": check.provider.name,
        "endpoint": check.entry.path,
        "path": sent[0],
        "sent": sent[1],
        "status": 200,
        "data": raw,
    }
    name = re.sub("[^A-Za-z0-9.-]", "_", f"{check.provider.name}{check.entry.path}")
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

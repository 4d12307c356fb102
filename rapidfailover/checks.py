"""Which status JSON that came with a 200 should have had, by host.

A check returns 200 when the JSON is what the endpoint promises. Else it returns what the words in
it mean: 404 for dead content, 429 for a limit; else the envelope's own code where it has one, else
502. So a payload with renamed fields is no profile, and a name that does not exist is no outage.
How sure each envelope is stands beside it: A documented or captured, B seen in three or more
places, C in one or two. The envelope of an endpoint that is not named below is not known: its JSON
passes unless it looks like an error.
"""

from __future__ import annotations

import re
from typing import Any

from .config import WORDS, texts_in

__all__ = [
    "LINKEDIN_NAMES",
    "check_linkedin",
    "check_looter",
    "check_statistics",
    "check_threads",
    "check_tiktok",
    "check_twitter",
    "check_youtube",
    "get",
    "person_of",
]


def check_tiktok(endpoint: str, data: Any) -> int:
    """``code == 0`` and ``data`` (B); ``code == -1`` is dead content, a limit or an error of its
    own (B, C).
    """
    code, found = get(data, "code"), get(data, "data")
    if code != 0 or code is False or found is None:
        return _read_error(data)  # its codes are no HTTP statuses
    if endpoint == "/user/info":
        user = get(found, "user")
        is_there = any(get(user, name) for name in ("uniqueId", "unique_id", "id"))
    elif endpoint == "/user/posts":
        is_there = isinstance(get(found, "videos"), list)
    else:
        is_there = endpoint != "/" or isinstance(found, dict) and found != {}
    return 200 if is_there else _read_error(data)


def check_looter(endpoint: str, data: Any) -> int:
    """``status`` is not false (A): its documented ``fields=`` strips ``status``, ``items`` and
    whatever else (A).

    Some answers are wrapped: ``{"status": 200, "body": …}`` (C).
    """
    status = get(data, "status")
    if (
        isinstance(data, dict)
        and set(data) == {"status", "body"}
        and status == 200
        and status is not True
    ):
        return check_looter(endpoint, data["body"])
    if status is False:
        return _read_error(data)
    if endpoint not in ("/profile", "/user-feeds", "/post"):
        return 200
    is_there = isinstance(data, dict) and set(data) - {"status", *WORDS}
    return (
        200
        if is_there and (status in (True, "ok") or not any(texts_in(data)))
        else _read_error(data)
    )


def check_statistics(endpoint: str, data: Any) -> int:
    """``meta.code == 200`` and ``data`` (B); else ``meta.code`` is the error's (C)."""
    code, found = get(get(data, "meta"), "code"), get(data, "data")
    if code != 200 or found is None:
        return _read_error(data, code)
    if endpoint in ("/profile", "/community"):
        return 200 if get(found, "screenName") or get(found, "name") else _read_error(data)
    return (
        200
        if endpoint not in ("/post", "/posts/one") or isinstance(found, dict) and found
        else _read_error(data)
    )


def check_youtube(endpoint: str, data: Any) -> int:
    """No ``error`` and no ``status: fail`` (C); ``code`` is the error's (C)."""
    required = {"/video/info": ("id", "title"), "/channel/about": ("title", "channelId")}.get(
        endpoint
    )
    is_there = any(get(data, name) for name in required) if required else True
    if endpoint == "/channel/videos":
        is_there = isinstance(get(data, "data"), list)
    failed = get(data, "error") or str(get(data, "status")).lower() == "fail"
    return 200 if is_there and not failed else _read_error(data, get(data, "code"))


def check_twitter(endpoint: str, data: Any) -> int:
    """``status`` is neither ``notfound`` nor ``error`` (C); an account's is ``active``, else there
    is none (C).
    """
    status = get(data, "status")
    if status == "notfound":
        return 404
    if status == "error":
        return _read_error(data)
    if endpoint == "/screenname.php":
        if isinstance(status, str) and status != "active":
            return 404
        is_there = bool(get(data, "rest_id") or get(data, "profile"))
    elif endpoint == "/timeline.php":
        is_there = isinstance(get(data, "timeline"), list)
    else:
        is_there = endpoint != "/tweet.php" or bool(get(data, "id") or get(data, "text"))
    return 200 if is_there else _read_error(data)


def check_linkedin(endpoint: str, data: Any) -> int:
    """``success`` is true (C); a person has a name of some kind (C)."""
    if get(data, "success") is not True:
        return _read_error(data)
    if endpoint in ("/person_deep", "/api/v1/user/profile"):
        person = person_of(data)
        return (
            200
            if any(get(person, name) for names in LINKEDIN_NAMES.values() for name in names)
            else _read_error(data)
        )
    return 200


def check_threads(endpoint: str, data: Any) -> int:
    """``data`` and no ``errors`` (C); a user that is null does not exist (C)."""
    found, failed = get(data, "data"), get(data, "errors")
    if isinstance(found, dict) and "user" in found and found["user"] is None and not failed:
        return 404
    if found is None or failed:
        return _read_error(data)
    if endpoint == "/api/user/info":
        user = get(found, "user")
        return 200 if get(user, "username") or get(user, "id") else _read_error(data)
    return 200


# --- errors inside a 200, by their words ---


def _read_error(data: Any, code: Any = None) -> int:
    """404, 429, or the envelope's own ``code`` where other providers may do better, else 502.

    A 404 removes the copy, so a doubtful text does not count as one: a text about machinery
    ("session not found", "table doesn't exist", "invalid API key") is the provider's own trouble.
    """
    texts = [
        " ".join(text[:500].lower().replace("’", "'").replace("_", " ").split())
        for text in texts_in(data)
    ]
    if any(_LIMITED(text) for text in texts):
        return 429
    clauses = [clause for text in texts for clause in _CLAUSE.split(text)]
    if any(_DEAD(clause) and not _MACHINERY(clause) for clause in clauses):
        return 404
    # A 401 of theirs is not about our key.
    return int(code) if str(code) in ("403", "404", "429", "500", "502", "503", "504") else 502


_CLAUSE = re.compile(r"[.:;!?]\s+|[.:;!?]$|\s[-–|]\s")
_LIMITED = re.compile(
    r"\b(limit|limits|quota|quotas|too many|rate[ -]?limit\w*|throttl\w+)\b"
).search
_THING = (
    r"(?:(?:(?:unique|user|sec|video|aweme|media|post|tweet|rest|channel|profile) ?)?u?id"
    r"|user ?name|screen"
    r" ?name|handle|url|link|user|account|profile|person|channel|video|media|post|tweet)"
)
_DEAD = re.compile(
    "|".join(
        (
            (
                r"\bnot found\b|\bnotfound\b|\b(?:could not|couldn't|cannot|can't) (?:be"
                r" found|find)\b|\bno such\b"
            ),
            (
                r"\b(?:not|n't|no longer|never)\s+exists?\b|n't exists?\b|\bnon-?exist\w*|\bnot"
                r" existing\b"
            ),
            r"\bprivate\b(?! (?:ip|network|method|error))",
            r"\bgone\b(?! wrong)|\bdeleted\b|\bremoved\b|\bsuspended\b|\bdeactivated\b",
            rf"\b{_THING} (?:is |was )?(?:invalid|not valid)\b|\binvalid {_THING}\b(?![ -]agent)",
            (
                rf"\b(?:{_THING}|page) (?:(?:isn't |(?:is |was )?(?:no longer |not"
                r" ))available|(?:is |was )?unavailable)\b"
            ),
            # TikTok's vendor, about a dead link (B) and a dead name (C)
            r"^url parsing is failed|^user ?info is failed",
        )
    )
).search
_MACHINERY = re.compile(
    r"\b(?:apis?|keys?|tokens?|endpoint|route|path|method|session|cookies?|prox(?:y|ies)|hosts?"
    r"|servers?|domain|database|table|column|relation|module|file|class|function|attribute"
    r"|property|element|index|object|undefined|null|feature|version|subscription|plan"
    r"|credentials?|signature|response|upstream|service|network"
    r"|device|client|app|your account|your ip)\b"
    r"|\btemporar\w+"
).search


def person_of(data: Any) -> Any:
    """LinkedIn's person: ``data``, which may be a list of one, and may be nested once more (C)."""
    person = get(data, "data")
    for _ in range(2):
        if isinstance(person, list) and len(person) == 1:
            person = person[0]
        if isinstance(get(person, "data"), (dict, list)):
            person = person["data"]
    return person


# linkedin-data-scraper's field, and the names under which it may come
LINKEDIN_NAMES = {
    "firstName": ("first_name", "firstName"),
    "lastName": ("last_name", "lastName"),
    "publicIdentifier": ("public_identifier", "publicIdentifier", "username"),
    "fullName": ("full_name", "fullName"),
}


def get(data: Any, name: str) -> Any:
    return data.get(name) if isinstance(data, dict) else None

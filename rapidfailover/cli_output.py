"""How the command line prints: data goes to stdout, what happened to stderr. Knows no provider.

A ``Status`` is one line on stderr, redrawn in place on a terminal; what is printed replaces it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
from typing import Any, Callable, Sequence

__all__ = [
    "FAILED",
    "FRESH",
    "INTERRUPTED",
    "NOT_FOUND",
    "PIPE_CLOSED",
    "STALE",
    "USAGE",
    "Log",
    "Status",
    "Stop",
    "as_json",
    "lines",
    "put",
    "span",
    "table",
    "tell",
]

FRESH, FAILED, USAGE, STALE, NOT_FOUND = 0, 1, 2, 3, 4  # exit statuses, ...
INTERRUPTED, PIPE_CLOSED = 130, 141  # ... these as a shell tells of SIGINT and SIGPIPE

_SOON = 0.5  # seconds between two drawings of a status on a terminal
_SELDOM = 60.0  # seconds between two lines of a status elsewhere

_COLUMNS = 80  # of a terminal that does not say how wide it is

_lock = threading.RLock()
_width = 0  # of the status that is on the terminal


class Stop(Exception):
    """Ends a command: the message, and the exit status."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


def tell(line: str) -> None:
    """A line on stderr."""
    if sys.stderr is not None:  # None: the parent process closed it
        with _lock:
            try:
                _erase()
                print(_fitting(_shown(line), sys.stderr), file=sys.stderr)
            except BrokenPipeError:
                raise
            except OSError:  # a full disk is no reason to withhold the data
                pass


def lines(*texts: str) -> None:
    """Lines on stdout. What a provider calls its fields cannot steer a terminal."""
    for text in texts:
        put(_fitting(_shown(text), sys.stdout))


def put(text: str, flush: bool = False) -> None:
    """A line on stdout as it is."""
    with _lock:
        _erase()
        print(text, flush=flush)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        lines("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def as_json(data: Any, indent: int | None = None, encoding: str | None = None) -> str:
    """JSON that stdout, or that encoding, can hold.

    It cannot steer a terminal, and nobody takes it for two lines.
    """
    encoding = encoding or _encoding(sys.stdout)
    try:
        is_utf8 = encoding.lower().replace("-", "") == "utf8"
        text = json.dumps(data, indent=indent, ensure_ascii=not is_utf8)
        text.encode(encoding)
    except UnicodeEncodeError:  # a lone surrogate
        text = json.dumps(data, indent=indent)
    return re.sub("[\x7f-\x9f\u2028\u2029]", lambda char: f"\\u{ord(char.group()):04x}", text)


def span(seconds: float) -> str:
    """A time in words."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


class Log(logging.Handler):
    """Tells what the library logs."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            for line in self.format(record).splitlines():
                tell(line)
        except (OSError, ValueError):  # nobody reads it any more
            pass


class Status:
    """A context manager: while it lasts, ``text()`` is on stderr, ``after`` so many seconds.

    A terminal draws it over twice a second. Elsewhere it is a line a minute, if it is
    ``worth_a_line``.
    """

    def __init__(
        self, text: Callable[[], str], after: float = 0.0, worth_a_line: bool = False
    ) -> None:
        self._text = text
        self._after = after
        self._is_drawn = sys.stderr is not None and sys.stderr.isatty()
        self._is_used = self._is_drawn or worth_a_line and sys.stderr is not None
        self._over = threading.Event()

    def __enter__(self) -> Status:
        if self._is_used:
            threading.Thread(target=self._work, daemon=True, name=f"{__package__}-status").start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        with _lock:
            self._over.set()
            if self._is_drawn:
                _erase()

    def _work(self) -> None:
        pause = max(self._after, _SOON) if self._is_drawn else _SELDOM
        try:
            while not self._over.wait(pause):
                pause = _SOON if self._is_drawn else _SELDOM
                with _lock:
                    if self._over.is_set():
                        return
                    if self._is_drawn:
                        _draw(self._text())
                    else:
                        tell(self._text())
        except (OSError, ValueError):  # nobody reads it any more
            pass


def _draw(text: str) -> None:
    global _width
    text = _fitting(_shown(text), sys.stderr)[: max(_columns() - 1, 1)]
    sys.stderr.write(f"\r{text.ljust(_width)}")
    sys.stderr.flush()
    _width = len(text)


def _erase() -> None:
    global _width
    if _width:
        sys.stderr.write(f"\r{' ' * _width}\r")
        sys.stderr.flush()
        _width = 0


def _shown(text: str) -> str:
    """The text, with escapes for what could steer a terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _columns() -> int:
    """Of the terminal behind stderr."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
    except (OSError, ValueError):
        return _COLUMNS


def _fitting(text: str, stream: Any) -> str:
    """The text, with escapes for what the stream cannot encode."""
    encoding = _encoding(stream)
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _encoding(stream: Any) -> str:
    return getattr(stream, "encoding", None) or "ascii"

"""The questions of a batch, out of a file: CSV, JSON Lines, or a name a line. Asks nobody.

Read twice: first to see that all of it can be read and what there is to do, then to do it.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
import tempfile
from typing import Any, BinaryIO, Iterator, Mapping, NamedTuple, Sequence

from .api import question_of
from .cli_output import USAGE, Stop
from .config import encode_query
from .errors import UnknownPlatform
from .guide import GUIDE

__all__ = ["Questions", "question_number"]

_DELIMITERS = ",;\t"
_BLANK: Mapping[str, Any] = {}  # a row that asks nothing


class _Wanted(NamedTuple):
    """A param, and the column that it is taken from."""

    param: str
    column: str


class Questions:
    """A context manager, and an iterable of params as often as it is wanted.

    ``wanted`` are (param, column) pairs; without them the endpoint says what it takes.
    ``constant`` are params of all. ``blank`` is how many rows asked nothing. ``Stop`` for a file
    that cannot be read.
    """

    def __init__(
        self,
        path: str,
        platform: str,
        endpoint: str,
        wanted: Sequence[tuple[str, str | None]],
        constant: Mapping[str, Any],
    ) -> None:
        self.blank = 0
        self._path = path
        self._question = platform, endpoint
        self._wanted = [_Wanted(param, column or param) for param, column in wanted]
        self._constant = constant
        self._file = _opened(path)
        self._form = ""
        try:
            self._form = self._find_form(is_table=any(column for _, column in wanted))
        finally:
            if not self._form:
                self._file.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.blank = 0
        for row in self._rows():
            if row:
                yield {**self._constant, **row}
            else:
                self.blank += 1

    def __enter__(self) -> Questions:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()

    def _find_form(self, is_table: bool) -> str:
        ending = os.path.splitext(self._path)[1].lower()
        if ending in (".csv", ".tsv"):
            return "CSV"
        if ending in (".jsonl", ".ndjson"):
            return "JSON Lines"
        with _Text(self._file, self._path) as text:
            first = next((line for line in text if line.strip()), "")
        return "JSON Lines" if first.lstrip().startswith("{") else "CSV" if is_table else "names"

    def _rows(self) -> Iterator[Mapping[str, Any]]:
        with _Text(self._file, self._path, "" if self._form == "CSV" else None) as text:
            if self._form == "CSV":
                yield from self._from_csv(text)
            elif self._form == "JSON Lines":
                yield from self._from_json(text)
            else:
                for line in text:
                    yield self._named(line.strip())

    def _from_csv(self, text: _Text) -> Iterator[Mapping[str, Any]]:
        lines = iter(text)
        head = next((line for line in lines if line.strip()), "")
        delimiter = max(_DELIMITERS, key=head.count)
        columns = [name.strip() for name in next(csv.reader([head], delimiter=delimiter), [])]
        wanted = self._wanted_of(columns)
        try:
            for cells in csv.reader(lines, delimiter=delimiter, strict=True):
                if any(cell.strip() for cell in cells[len(columns) :]):
                    raise csv.Error(f"{len(cells)} cells for {len(columns)} titles")
                if cells:
                    yield _picked(dict(zip(columns, (cell.strip() for cell in cells))), wanted)
        except csv.Error as problem:
            raise Stop(f"{self._path}, line {text.number}: {problem}", USAGE) from None

    def _wanted_of(self, columns: list[str]) -> Sequence[_Wanted]:
        """What is wanted, if the columns are there."""
        wanted = self._wanted or self._known_among(columns)
        there = ", ".join(map(repr, columns)) or "none"
        if not wanted:
            raise Stop(
                f"{self._path} has no column that the endpoint takes: write --param; "
                f"it has {there}",
                USAGE,
            )
        for _, column in wanted:
            if columns.count(column) != 1:
                lacks = "two columns" if column in columns else "no column"
                raise Stop(f"{self._path} has {lacks} {column!r}; it has {there}", USAGE)
        return wanted

    def _from_json(self, text: _Text) -> Iterator[Mapping[str, Any]]:
        for line in text:
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as problem:
                raise Stop(
                    f"{self._path}, line {text.number} is no JSON: {problem}", USAGE
                ) from None
            if isinstance(row, dict):
                known = self._wanted or self._known_among(list(row))
                is_blank = bool(known) and not _picked(row, known)
                yield _BLANK if is_blank else _picked(row, known) if self._wanted else row
            elif isinstance(row, str):
                yield self._named(row.strip())
            else:
                raise Stop(
                    f"{self._path}, line {text.number} is neither an object nor a text", USAGE
                )

    def _named(self, name: str) -> Mapping[str, Any]:
        """The params that ask for the thing of that name."""
        if not name:
            return _BLANK
        if len(self._wanted) > 1:
            raise Stop(
                f"{self._path} has a name a line, and {len(self._wanted)} params are wanted of it",
                USAGE,
            )
        if self._wanted:
            return {self._wanted[0].param: name}
        platform, endpoint = self._question
        try:
            profile, params = question_of(platform, name)
        except UnknownPlatform:
            profile, params = "", {}
        if profile == endpoint:
            return params
        takes = GUIDE.get(platform, {}).get(endpoint)
        if takes is None or not takes.params:
            raise Stop(
                f"which param of {endpoint} is it that {self._path} holds? Write --param NAME",
                USAGE,
            )
        return {takes.params[0].rstrip("?"): name}

    def _known_among(self, columns: Sequence[str]) -> list[_Wanted]:
        """The params that the endpoint is known to take, where there are columns of their names."""
        platform, endpoint = self._question
        takes = GUIDE.get(platform, {}).get(endpoint)
        names = () if takes is None else tuple(name.rstrip("?") for name in takes.params)
        return [_Wanted(name, name) for name in names if name in columns]


def _picked(row: Mapping[str, Any], wanted: Sequence[_Wanted]) -> Mapping[str, Any]:
    """The wanted params of a row; nothing where the first of them has no value."""
    params = {param: row[column] for param, column in wanted if row.get(column) not in (None, "")}
    return params if wanted[0].param in params else _BLANK


class _Text:
    """The lines of the file, from its beginning, as UTF-8 with or without a byte order mark."""

    def __init__(self, file: BinaryIO, path: str, newline: str | None = None) -> None:
        self.number = 0  # of the line that was read last
        self._path = path
        file.seek(0)
        self._text = io.TextIOWrapper(file, encoding="utf-8-sig", newline=newline)

    def __iter__(self) -> Iterator[str]:
        while True:
            try:
                line = next(self._text, "")
            except UnicodeDecodeError as problem:
                raise Stop(
                    f"{self._path} is no UTF-8, behind line {self.number}: {problem.reason}", USAGE
                ) from None
            if not line:
                return
            self.number += 1
            yield line

    def __enter__(self) -> _Text:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._text.detach()  # the file stays open


def _opened(path: str) -> BinaryIO:
    """A file that can be read again and again; ``-`` is stdin."""
    if path == "-" and sys.stdin is None:
        raise Stop("--from -: stdin is closed", USAGE)
    try:
        file: Any = sys.stdin.buffer if path == "-" else open(path, "rb")
        if file.seekable():
            return file  # type: ignore[no-any-return]
        with file:
            spooled = tempfile.TemporaryFile()
            shutil.copyfileobj(file, spooled)
        return spooled
    except OSError as problem:
        raise Stop(f"--from {path}: {problem.strerror}", USAGE) from None


def question_number(params: Any) -> int:
    """The same for the same question, in this process."""
    try:
        return hash(encode_query(params, lambda: True))
    except (TypeError, ValueError):  # what cannot be asked
        return hash(json.dumps(params, sort_keys=True))

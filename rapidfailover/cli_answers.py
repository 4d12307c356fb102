"""The answers of a batch, in a file: a JSON object a line. A run goes on where another stopped.

A line is written at once. What a killed run left of its last line is taken out, and so are the
retryable errors. A question that was answered is not asked again.
"""

from __future__ import annotations

import json
import os
import stat
from typing import Any, BinaryIO, Iterator

from .batch import Answer
from .cli_output import USAGE, Stop, as_json
from .cli_questions import question_number

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Answers"]


class Answers:
    """The file of answers about one endpoint; a context manager.

    ``Stop`` where it cannot be written to.
    """

    def __init__(self, path: str, platform: str, endpoint: str) -> None:
        self.answered: set[int] = set()  # the numbers of the questions
        self._path = path
        self._of = {"platform": platform, "endpoint": endpoint}
        self._files: list[BinaryIO] = []  # closing one of them ends its lock
        try:
            self._file = self._opened(path)
            if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                self._lock(self._file, path)
                self._mend()
        except OSError as problem:
            self.__exit__()
            raise Stop(f"--to {path}: {problem.strerror}", USAGE) from None
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for file in self._files:
            file.close()

    def write(self, answer: Answer) -> None:
        record: dict[str, Any] = {**self._of, "params": answer.params}
        result, error = answer.result, answer.error
        if result is not None:
            record.update(provider=result.provider, stale=result.stale, data=result.data)
        elif error is not None:
            record["error"] = {
                "type": type(error).__name__,
                "message": str(error),
                "retryable": error.retryable,
            }
        try:
            self._write(f"{as_json(record, encoding='utf-8')}\n".encode())
        except BrokenPipeError:
            raise
        except OSError as problem:
            raise Stop(f"--to {self._path}: {problem.strerror}") from None

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]

    def _opened(self, path: str) -> BinaryIO:
        """The file, open to append to it without a buffer."""
        file: Any = open(path, "ab", buffering=0)
        self._files.append(file)
        return file  # type: ignore[no-any-return]

    def _lock(self, file: BinaryIO, path: str) -> None:
        """Take the file's lock: two runs at once would ask everything twice."""
        if fcntl is None:
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Stop(f"--to {self._path}: another batch is writing to it") from None
        except OSError:  # a file system without locks
            return
        if not os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
            raise Stop(f"--to {self._path}: another batch was writing to it just now")

    def _mend(self) -> None:
        """Learn who was answered, and take out what does not stay."""
        size = end = 0
        is_complete, is_any_out = True, False
        for line, stays in self._lines():
            size += len(line)
            if stays:
                end, is_complete = size, line.endswith(b"\n")
            elif line.endswith(b"\n"):
                is_any_out = True
        if is_any_out:
            self._rewrite()
        elif end < size:
            os.truncate(self._path, end)
        elif not is_complete:
            self._write(b"\n")

    def _rewrite(self) -> None:
        """Put a new file in the place of the old one: a run that is killed here harms nothing."""
        path = os.path.realpath(self._path)
        beside = f"{path}.mending"
        if os.path.lexists(beside):
            os.remove(beside)
        self._file = self._opened(beside)
        self._lock(self._file, beside)
        for line, stays in self._lines():
            if stays:
                self._write(line if line.endswith(b"\n") else line + b"\n")
        os.fsync(self._file.fileno())
        os.chmod(beside, stat.S_IMODE(os.stat(path).st_mode))
        if fcntl is None:  # Windows moves no file that is open
            self.__exit__()
        os.replace(beside, path)
        if fcntl is None:
            self._file = self._opened(path)

    def _lines(self) -> Iterator[tuple[bytes, bool]]:
        """Each line, and whether it stays."""
        is_any_ours = False
        with open(self._path, "rb") as file:
            for number, line in enumerate(file, 1):
                record = _record(line)
                if record is None and self._is_left_over(line, is_any_ours):
                    yield line, False
                    continue
                if record is None or any(record[name] != value for name, value in self._of.items()):
                    what = (
                        "is no answer of a batch"
                        if record is None
                        else f"is about {record['platform']} {record['endpoint']}"
                    )
                    raise Stop(f"--to {self._path}: line {number} {what}; name another file", USAGE)
                is_any_ours, stays = True, not _is_retryable(record)
                if stays:
                    self.answered.add(question_number(record["params"]))
                yield line, stays

    def _is_left_over(self, line: bytes, is_any_ours: bool) -> bool:
        """Whether it is nothing, or the end of the file as a killed run or a crash left it.

        Without an answer of ours before it, it has to begin like one: it could be anything else
        that somebody keeps in one line.
        """
        if not line.strip(b"\0 \t\r\n"):
            return True
        start = as_json(self._of, encoding="utf-8")[:-1].encode()
        is_of_ours = is_any_ours or line.startswith(start) or start.startswith(line)
        return is_of_ours and not line.endswith(b"\n")


def _record(line: bytes) -> dict[str, Any] | None:
    """What ``write`` wrote, or None."""
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    is_ours = (
        isinstance(record, dict)
        and {"platform", "endpoint", "params"} <= set(record)
        and isinstance(record["params"], dict)
    )
    if is_ours and ("data" in record or isinstance(record.get("error"), dict)):
        return record  # type: ignore[no-any-return]
    return None


def _is_retryable(record: dict[str, Any]) -> bool:
    return "data" not in record and bool(record["error"].get("retryable"))

"""How log lines look, and what of a failure may stand in one.

The package calls the standard `logging` and nothing else, so that a host app's own set-up holds for it as well; what
stands here is the set-up of our own server. No line may tell what people say, or who and where they are: of an error
only its type and its place are told, for its words may quote them.
"""

import json
import logging
import os
import sys
import traceback
from typing import Final, Literal

_COLOURS: Final = {logging.DEBUG: "2", logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "1;31"}


def set_up(look: Literal["text", "json", "auto"]) -> None:
    """Send all logs of this process to stderr: the package's, uvicorn's and whoever else's. `auto` is text on a
    terminal and JSON elsewhere.

    uvicorn's lines below a warning are left out: they hold addresses and paths.
    """
    on_terminal = sys.stderr.isatty()
    as_json = look == "json" or (look == "auto" and not on_terminal)
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if as_json else _Text(colour=on_terminal and not os.environ.get("NO_COLOR")))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for chatty in ("uvicorn", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def trace_of(error: BaseException) -> str:
    """The types of the error and of those that led to it, each with its place in the code, without any of their
    values."""
    return "\n".join(_trace_lines(error, set()))


def _trace_lines(error: BaseException, seen: set[int]) -> list[str]:
    seen.add(id(error))
    lines: list[str] = []
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier is not None and id(earlier) not in seen:
        lines += [*_trace_lines(earlier, seen), "which led to"]
    lines.append(type(error).__name__)
    lines += "".join(traceback.format_tb(error.__traceback__)).splitlines()
    if isinstance(error, BaseExceptionGroup):
        parts = [part for part in error.exceptions if id(part) not in seen]
        lines += [f"  {line}" for part in parts for line in ("one of them", *_trace_lines(part, seen))]
    return lines


class _Safe(logging.Formatter):
    """Takes the message and the trace of a record, without the values of an error."""

    def words(self, record: logging.LogRecord) -> str:
        if record.name == "asyncio":  # it shows the arguments of the callback that failed
            return record.getMessage().partition("(")[0].partition("\n")[0]
        return record.getMessage()

    def trace(self, record: logging.LogRecord) -> str | None:
        error = record.exc_info[1] if record.exc_info else None
        return None if error is None else trace_of(error)


class _Text(_Safe):
    """For people: the time of day, the level, the message."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__(datefmt="%H:%M:%S")
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        line = f"{self.formatTime(record, self.datefmt)} {record.levelname:<8} {self.words(record)}"
        trace = self.trace(record)
        if trace is not None:
            line += "\n" + trace
        code = _COLOURS.get(record.levelno) if self._colour else None
        return line if code is None else f"\x1b[{code}m{line}\x1b[0m"


class _Json(_Safe):
    """For programs: one object a line. `ts` is in milliseconds since 1970; `id` is what a person was told of a
    failure."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": round(record.created * 1000),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.words(record),
        }
        incident = getattr(record, "incident", None)
        if incident is not None:
            line["id"] = incident
        trace = self.trace(record)
        if trace is not None:
            line["trace"] = trace
        return json.dumps(line, ensure_ascii=False)


def log_failure(what: str, incident: str, error: BaseException) -> None:
    """Log that `what` failed. `incident` is the id that the person concerned is told.

    The trace is a part of the message: a host app's formatter would print the error's words.
    """
    message = "%s failed (id %s): %s"
    logging.getLogger("parlour").error(message, what, incident, trace_of(error), extra={"incident": incident})

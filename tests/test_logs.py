"""How log lines look, and that an error's words stand in none."""

import asyncio
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator

import pytest

from parlour.logs import log_failure, set_up, trace_of
from tests.raw import connect
from tests.servers import serving

SECRET = "".join(("ca", "nary"))  # so that it does not stand in this source, which a trace quotes


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What `set_up` changes is the process's."""
    root, uvicorn = logging.getLogger(), logging.getLogger("uvicorn")
    handlers, level, uvicorn_level = root.handlers[:], root.level, uvicorn.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    uvicorn.setLevel(uvicorn_level)


def plain() -> None:
    raise ValueError(SECRET)


def caused() -> None:
    try:
        plain()
    except ValueError as error:
        raise LookupError(SECRET) from error


def hidden() -> None:
    try:
        plain()
    except ValueError:
        raise LookupError(SECRET) from None


def several() -> None:
    errors: list[Exception] = []
    for call in (plain, caused):
        try:
            call()
        except Exception as error:
            error.add_note(SECRET)
            errors.append(error)
    raise ExceptionGroup(SECRET, errors)


def circular() -> None:
    error = ValueError(SECRET)
    error.__cause__ = LookupError(SECRET)
    error.__cause__.__cause__ = error
    raise error


@pytest.mark.parametrize(
    ("fails", "types"),
    [
        (plain, ["ValueError"]),
        (caused, ["ValueError", "LookupError"]),
        (hidden, ["LookupError"]),
        (several, ["ExceptionGroup", "ValueError", "ValueError", "LookupError"]),
        (circular, ["LookupError", "ValueError"]),
    ],
)
def test_a_trace_has_types_and_places_but_no_values(fails: Callable[[], None], types: list[str]) -> None:
    with pytest.raises(Exception, match=SECRET) as caught:
        fails()
    trace = trace_of(caught.value)
    assert re.findall(r"^ *(\w+(?:Error|Group))$", trace, re.MULTILINE) == types
    assert f"in {fails.__name__}" in trace
    assert SECRET not in trace


def logged(look: str, capsys: pytest.CaptureFixture[str]) -> str:
    set_up(look)  # type: ignore[arg-type]
    logging.getLogger("parlour").warning("a %s", "word")
    logging.getLogger("uvicorn.access").info(SECRET)
    try:
        plain()
    except ValueError as error:
        logging.getLogger("uvicorn.error").exception("it broke")
        log_failure("a thing", "4be1", error)
    loop = asyncio.new_event_loop()
    loop.call_exception_handler({"message": f"Exception in callback {several}({SECRET})", "exception": error_of(plain)})
    loop.close()
    return capsys.readouterr().err


def error_of(fails: Callable[[], None]) -> Exception:
    with pytest.raises(ValueError, match=SECRET) as caught:
        fails()
    return caught.value


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line, also for what uvicorn and asyncio log; a failure has the id that a person was told."""
    text = logged("json", capsys)
    word, broke, failed, callback = (json.loads(line) for line in text.splitlines())
    assert set(word) == {"ts", "level", "logger", "message"}
    assert (word["level"], word["logger"], word["message"]) == ("warning", "parlour", "a word")
    assert (broke["logger"], broke["message"]) == ("uvicorn.error", "it broke")
    assert broke["trace"].startswith("ValueError\n")
    assert (failed["level"], failed["id"]) == ("error", "4be1")
    assert failed["message"].startswith("a thing failed (id 4be1): ValueError\n")
    assert callback["trace"].startswith("ValueError\n")
    assert SECRET not in text


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    text = logged("text", capsys)
    assert re.match(r"\d\d:\d\d:\d\d WARNING +a word\n\d\d:\d\d:\d\d ERROR +it broke\nValueError\n", text)
    assert "\x1b" not in text
    assert SECRET not in text


@pytest.mark.parametrize("no_color", ["", "1"])
def test_colours_on_a_terminal_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_color: str
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    text = logged("auto", capsys)
    assert ("\x1b[33m" in text) == (not no_color)
    assert "WARNING" in text


@pytest.mark.anyio
async def test_auto_off_a_terminal_is_json() -> None:
    """With the flag of `parlour serve` left as it is."""
    with serving() as server:
        async with connect(server.url):
            pass
        server.signal()
        await asyncio.to_thread(server.exited)
        said = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    assert said[-1]["message"].startswith("good night: ")

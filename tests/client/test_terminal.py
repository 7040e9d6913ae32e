"""The terminal chat without a terminal: its text rules, its screen, and one conversation at a time."""

import asyncio
import io
import json
import math
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.client import Client
from parlour.client.session import FRAME_LIMIT
from parlour.client.terminal import (
    HELP,
    KNOWN,
    LINE_OVERHEAD,
    WINDOW,
    Chat,
    Lines,
    Look,
    Manner,
    Screen,
    Typed,
    login_name,
    neutral,
    rows,
    shortened,
    shown_name,
    split_lines,
)
from parlour.core.events import Sender
from parlour.errors import ConnectError
from tests.client.v1_server import V1Server

# Text

HOSTILE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@given(st.text())
def test_nothing_that_drives_a_terminal_is_left(text: str) -> None:
    """Every hostile character becomes one that can be seen; all others stay as they are."""
    shown = neutral(text)
    assert not HOSTILE.search(shown)
    assert len(shown) == len(text)
    assert all(new == old for old, new in zip(text, shown, strict=True) if not HOSTILE.match(old))


def test_an_escape_sequence_is_shown_not_obeyed() -> None:
    assert neutral("\x1b[2Jhi\x07\t\u202eyou\x9b1m") == "␛[2Jhi␇\t�you�1m"


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("", 10, 1),
        ("x" * 10, 10, 1),
        ("x" * 11, 10, 2),
        ("漢" * 6, 10, 2),
        ("e\u0301" * 10, 10, 1),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467" * 5, 10, 1),
        ("x", 0, 1),
    ],
)
def test_rows_of_a_typed_line(text: str, columns: int, expected: int) -> None:
    """Wide characters take two columns, combining ones none; joined emoji count as one."""
    assert rows(text, columns) == expected


def chunks(*parts: bytes) -> Callable[[], bytes]:
    left = iter(parts)
    return lambda: next(left, b"")


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"hi", ["hi"]),
        (b"hi\n", ["hi"]),
        (b"a\n\nb\n", ["a", "", "b"]),
        (b"a\r\nb\rc\n", ["a", "b\rc"]),
        ("tea ☕\n".encode(), ["tea ☕"]),
        (b"\xff\n", ["\ufffd"]),
    ],
)
def test_lines_of_a_stream(data: bytes, lines: list[str]) -> None:
    assert list(split_lines(chunks(data))) == lines


@given(st.text(alphabet="ab\n☕", max_size=30), st.integers(1, 5))
def test_lines_do_not_depend_on_how_the_bytes_come(text: str, size: int) -> None:
    data = text.encode()
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    assert list(split_lines(chunks(*parts))) == list(split_lines(chunks(data)))


def test_an_endless_line_takes_no_endless_memory() -> None:
    """It is cut just where it is too long to be said."""
    endless = [b"x" * 64 * 1024] * 50
    (cut, rest) = split_lines(chunks(*endless, b"\nhi\n"))
    assert FRAME_LIMIT < len(cut) < FRAME_LIMIT + 2 * 64 * 1024
    assert rest == "hi"


def test_a_login_name_is_always_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    assert login_name() == "ada"

    def nobody() -> str:
        raise KeyError("no such user")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert login_name() == "guest"


def test_a_report_shows_the_beginning() -> None:
    assert shortened("hi") == "hi"
    assert shortened("x" * 81) == "x" * 80 + "..."


def test_a_name_that_anyone_can_take_has_its_mark() -> None:
    assert shown_name(Sender("p", "bo")) == "bo"
    assert shown_name(Sender("p", "bo", plain=True)) == "~bo"
    assert shown_name(Sender("p", None, plain=True)) == "~someone"
    assert shown_name(None) == "someone"


# The screen


class Terminal(io.StringIO):
    """A terminal of twenty columns: enough of one to see what a person sees."""

    columns = 20

    def __init__(self) -> None:
        super().__init__()
        self._rows = [""]
        self._row = 0
        self._column = 0

    @property
    def seen(self) -> list[str]:
        return [row.rstrip() for row in self._rows if row.strip()]

    def write(self, text: str, /) -> int:
        for sequence in re.findall(r"\x1b\[(\d*)([A-Za-z])|(.)", text, re.DOTALL):
            self._obey(*sequence)
        return len(text)

    def _obey(self, number: str, command: str, character: str) -> None:
        if command == "A":
            self._row = max(0, self._row - int(number or 1))
        elif command == "J":
            del self._rows[self._row + 1 :]
            self._rows[self._row] = self._rows[self._row][: self._column]
        elif character == "\r":
            self._column = 0
        elif character == "\n":
            self._next_row()
        elif character:
            if self._column == self.columns:
                self._next_row()
            row = self._rows[self._row].ljust(self._column)
            self._rows[self._row] = row[: self._column] + character + row[self._column + 1 :]
            self._column += 1

    def _next_row(self) -> None:
        self._row += 1
        self._column = 0
        if self._row == len(self._rows):
            self._rows.append("")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """A person at a terminal: what is typed is echoed by the terminal itself."""

    def __init__(self, look: Look | None = None) -> None:
        self.terminal = Terminal()
        self.clock = Clock()
        look = look or Look(erase=True, columns=lambda: Terminal.columns)
        self.screen = Screen(self.terminal, self.terminal, look, clock=self.clock)

    def type(self, text: str) -> None:
        self.terminal.write(text)

    def enter(self, text: str, *, after: float = 1.0) -> None:
        self.terminal.write("\n")
        self.clock.now += after
        self.screen.typed(Typed(text, self.clock.now))

    @property
    def seen(self) -> list[str]:
        return self.terminal.seen


def test_a_typed_line_is_not_shown_twice() -> None:
    desk = Desk()
    desk.screen.said("bo", "hi")
    desk.type("hello")
    desk.enter("hello")
    desk.screen.said("ada", "hello", own=True)
    assert desk.seen == ["bo> hi", "ada> hello"]


def test_a_long_typed_line_goes_as_a_whole() -> None:
    """Also after the answer to the line before."""
    desk = Desk()
    desk.screen.said("bo", "hi")
    desk.type("hello")
    desk.enter("hello")
    desk.screen.said("ada", "hello", own=True)
    desk.type("x" * 45)
    desk.enter("x" * 45)
    assert desk.seen == ["bo> hi", "ada> hello"]


def test_a_line_that_came_between_stays() -> None:
    """It broke the typed line in two; only the second part is surely ours alone."""
    desk = Desk()
    desk.type("x" * 45)
    desk.screen.said("bo", "hi")
    desk.type("yes")
    desk.enter("x" * 45 + "yes")
    assert "bo> hi" in "".join(desk.seen)
    assert "yes" not in desk.seen


def test_a_line_that_came_just_before_enter_stays() -> None:
    """It can't be told whether it stands below what was typed."""
    desk = Desk()
    desk.type("hello")
    desk.terminal.write("\n")
    desk.screen.said("bo", "hi")
    desk.screen.typed(Typed("hello", desk.clock.now))
    assert desk.seen == ["hello", "bo> hi"]


def test_lines_pasted_at_once_all_go() -> None:
    desk = Desk()
    desk.screen.said("bo", "hi")
    desk.type("one\ntwo\nthree\n")
    desk.clock.now += 1
    for text in ("one", "two", "three"):
        desk.screen.typed(Typed(text, desk.clock.now))
    assert desk.seen == ["bo> hi"]


def test_nothing_is_erased_unless_asked() -> None:
    desk = Desk(Look())
    desk.type("hello")
    desk.enter("hello")
    assert desk.seen == ["hello"]


def test_a_command_stays() -> None:
    """Nothing else would show it."""
    desk = Desk()
    desk.type("/who")
    desk.terminal.write("\n")
    desk.clock.now += 1
    desk.screen.typed(Typed("/who", desk.clock.now), comes_back=False)
    assert desk.seen == ["/who"]


def written(look: Look, *said: tuple[str, str]) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    screen = Screen(out, err, look, clock=Clock())
    for name, text in said:
        screen.said(name, text, own=name == "ada")
        screen.happened({"ev": "message", "text": text})
    screen.status("good to know")
    screen.answer("asked\nfor")
    screen.warn("must be known\x1b[2J")
    return out.getvalue(), err.getvalue()


def test_lines_and_words_go_apart() -> None:
    """Without colours unless there is a terminal, and never with a stranger's escapes or line breaks."""
    out, err = written(Look(), ("bo\x1b[1m", "hi\x1b[2J\ncy> ho"))
    assert out == "bo␛[1m> hi␛[2J␊cy> ho\n"
    assert err == "good to know\nasked\nfor\nmust be known␛[2J\n"


def test_quiet_tells_only_what_was_asked_or_must_be_known() -> None:
    assert written(Look(quiet=True))[1] == "asked\nfor\nmust be known␛[2J\n"


def test_json_keeps_each_event_exactly() -> None:
    hostile = "\x1b[2J\u202e ☕\n"
    out, _ = written(Look(json=True, colour=True), ("bo", hostile), ("bo", "hi"))
    assert [json.loads(line) for line in out.splitlines()] == [
        {"ev": "message", "text": hostile},
        {"ev": "message", "text": "hi"},
    ]
    assert out.isascii()


def test_colours_are_few() -> None:
    """The names of others, and our own words."""
    out, err = written(Look(colour=True, colour_status=True), ("bo", "hi"), ("ada", "hi"))
    assert out.splitlines() == ["\x1b[1mbo> \x1b[0mhi", "ada> hi"]
    assert err.startswith("\x1b[2mgood to know\x1b[0m\n")


# The conversation


class Keyboard:
    """Lines to be typed one after the other; `hold` keeps the input open after the last."""

    def __init__(self, *lines: str) -> None:
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()
        for text in lines:
            self._queue.put_nowait(text)

    def type(self, text: str) -> None:
        self._queue.put_nowait(text)

    def end(self) -> "Keyboard":
        self._queue.put_nowait(None)
        return self

    async def next(self) -> Typed | None:
        text = await self._queue.get()
        if text is None:
            self.end()
            return None
        return Typed(text, math.inf)


class Paper(io.StringIO):
    """Output that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._written = asyncio.Event()

    def write(self, text: str, /) -> int:
        self._written.set()
        return super().write(text)

    async def wait(self, condition: Callable[[], bool]) -> None:
        """Until `condition` holds, which may change with whatever is written."""
        while not condition():
            self._written.clear()
            await self._written.wait()


class Torn(Paper):
    """Output whose reader has gone."""

    def write(self, text: str, /) -> int:
        raise BrokenPipeError


class Talk:
    """One conversation, and what it printed."""

    def __init__(
        self,
        server: V1Server | None,
        keyboard: Keyboard,
        *,
        interactive: bool = False,
        patience: float = 20.0,
        out: Paper | None = None,
        json: bool = False,
        path: str = "",
        **more: Any,
    ) -> None:
        """`more` is for `Client.connect`; no server is one that can't be reached."""
        self._out, self._err = out or Paper(), Paper()
        self.keyboard = keyboard
        screen = Screen(self._out, self._err, Look(json=json), clock=Clock())
        manner = Manner(name="ada", interactive=interactive, patience=patience)
        more = {"name": "ada", "random": lambda: 0.0, **more}
        self._connect = Refusing if server is None else lambda: Client.connect(server.url + path, **more)
        self.chat = Chat(self._connect, keyboard, screen, manner)

    @property
    def lines(self) -> list[str]:
        return self._out.getvalue().splitlines()

    @property
    def words(self) -> list[str]:
        return self._err.getvalue().splitlines()

    async def wait_words(self, words: str, *, times: int = 1) -> None:
        """Until so many status lines hold `words`."""
        await self._err.wait(lambda: sum(words in each for each in self.words) >= times)

    async def wait_lines(self, count: int) -> None:
        """Until `count` lines were heard."""
        await self._out.wait(lambda: len(self.lines) >= count)

    @asynccontextmanager
    async def held(self, code: int = 0) -> AsyncIterator[None]:
        """While the conversation goes on; it ends with the input, and gives `code`."""
        holding = asyncio.create_task(self.chat.hold())
        try:
            yield
            self.keyboard.end()
            assert await holding == code
        finally:
            holding.cancel()
            await asyncio.gather(holding, return_exceptions=True)


class Refusing(AbstractAsyncContextManager[Client]):
    """A connection that can't be had."""

    async def __aenter__(self) -> Client:
        raise ConnectError("http://a.example", "connection refused")

    async def __aexit__(self, *_: object) -> None:
        pass


@pytest.mark.anyio
@pytest.mark.usefixtures("deadline")
class TestPipe:
    """Input that is not typed: it is said line by line, and each line must be acknowledged."""

    async def test_it_ends_with_its_last_reply(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard("a", "", "b\x07").end())
        assert await talk.chat.hold() == 0
        assert server.said == ["a", "", "b\x07"]
        assert talk.lines == ["ada> a", "ada> ", "ada> b␇"]
        assert talk.words == [f"connected to {server.url} as ada, in the public room"]

    async def test_nothing_to_say_is_fine(self, server: V1Server) -> None:
        """Not even a stranger is waited for."""
        assert await Talk(server, Keyboard().end()).chat.hold() == 0
        assert await Talk(server, Keyboard().end(), private=True).chat.hold() == 0

    async def test_the_lobby_leads_to_the_public_room(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard("a").end(), path="/chat")
        assert await talk.chat.hold() == 0
        assert talk.lines == ["ada> a"]

    async def test_lines_that_look_like_commands_are_said(self, server: V1Server) -> None:
        """What a pipe brings was not written for us."""
        assert await Talk(server, Keyboard("/quit", "//x", "/etc/passwd").end()).chat.hold() == 0
        assert server.said == ["/quit", "//x", "/etc/passwd"]

    async def test_it_waits_for_the_reply(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard("!hold").end())
        holding = asyncio.create_task(talk.chat.hold())
        await server.wait_said(1)
        assert not holding.done()
        server.release.set()
        assert await holding == 0

    async def test_notices_are_shown(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard("!notice").end())
        assert await talk.chat.hold() == 0
        assert talk.lines == ["ada> !notice"]
        assert talk.words[1:] == ["notice: tea is ready"]

    async def test_a_refused_line_is_told(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard("!refuse", "a").end())
        assert await talk.chat.hold() == 1
        assert talk.lines == ["ada> a"]
        assert talk.words[1:] == ["refused (too_large: too_large it is): !refuse"]

    async def test_a_line_too_long_for_the_wire_is_not_sent(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard("x" * FRAME_LIMIT, "a").end())
        assert await talk.chat.hold() == 1
        assert talk.words[1] == f"not sent, too long: {'x' * 80}..."
        assert server.said == ["a"]

    async def test_silence_ends_it(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard("!never").end(), patience=0.01)
        assert await talk.chat.hold() == 1
        assert talk.words[1:] == ["no answer for 0.01 s", "not confirmed: !never"]

    async def test_no_more_is_taken_than_is_answered(self, server: V1Server) -> None:
        text = "!never " + "x" * 1000
        talk = Talk(server, Keyboard(*[text] * 100))
        async with talk.held(1):
            fitting = WINDOW // (len(text) + LINE_OVERHEAD)
            await server.wait_said(fitting)
            server.say("still there?")
            await talk.wait_lines(1)
            assert len(server.heard) == 1 + fitting
            server.tell(ev="bye", code=4506, reason="enough", reconnect=False)
            server.drop()
            await talk.wait_words("not confirmed", times=fitting)

    async def test_a_line_larger_than_the_window_is_said_alone(self, server: V1Server) -> None:
        text = "☕" * 10_000 + "x" * (WINDOW - 30_000)
        assert await Talk(server, Keyboard("a", text, "b").end()).chat.hold() == 0

    async def test_many_lines_all_come_back(self, server: V1Server) -> None:
        lines = [f"line {number}" for number in range(2000)]
        talk = Talk(server, Keyboard(*lines).end())
        assert await talk.chat.hold() == 0
        assert talk.lines == [f"ada> {text}" for text in lines]

    async def test_lines_keep_to_the_servers_rate(self, deadline: None) -> None:
        async with V1Server.open(limits={"rate": 1000.0, "burst": 4}) as server:
            assert await Talk(server, Keyboard(*map(str, range(50))).end()).chat.hold() == 0
            assert server.said == [*map(str, range(50))]

    async def test_a_lost_connection_loses_nothing(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard("a"))
        async with talk.held():
            await talk.wait_lines(1)
            server.gate.clear()
            server.drop()
            await talk.wait_words("disconnected with 1006")
            talk.keyboard.type("b")
            server.gate.set()
            await talk.wait_lines(2)
        assert server.said == ["a", "b"]
        assert talk.words[1:] == [
            "disconnected with 1006: the connection was lost",
            "connecting again in 0.0 s; Ctrl-C leaves",
            "back: nothing missed",
        ]

    async def test_the_end_for_good_is_told_with_what_may_be_lost(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard("a", "!close 4506"))
        assert await talk.chat.hold() == 1
        assert talk.words[1:] == ["disconnected with 4506: as asked", "not confirmed: !close 4506"]

    async def test_no_connection_is_an_error(self) -> None:
        talk = Talk(None, Keyboard("a").end())
        with pytest.raises(ConnectError):
            await talk.chat.hold()

    async def test_who_is_not_let_in_is_told_why(self, server: V1Server) -> None:
        """In the server's words, which can't drive a terminal."""
        server.refusals = [{"code": "bad_name", "message": "no\x1b[2J"}]
        talk = Talk(server, Keyboard("a").end())
        assert await talk.chat.hold() == 1
        assert talk.words == ["refused (bad_name): no␛[2J"]

    async def test_output_that_cannot_be_written_ends_it(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard("a"), out=Torn())
        with pytest.raises(BrokenPipeError):
            await talk.chat.hold()

    async def test_comings_and_goings_are_not_told(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard())
        async with talk.held():
            await server.wait_people(1)
            async with Client.connect(server.url, name="bo") as bo:
                await bo.send("hi")
            await talk.wait_lines(1)
        assert len(talk.words) == 1


@pytest.mark.anyio
@pytest.mark.usefixtures("deadline")
class TestJson:
    """Each event on a line of its own, as it came, and nothing else."""

    async def test_events_as_they_came(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard("a"), json=True)
        async with talk.held():
            await talk.wait_lines(1)
            server.tell(ev="ping")
            server.tell(ev="odd.one", room="public", words="\x1b[2J☕")
            server.drop()
            await talk.wait_words("back: nothing missed")
            server.say("hi", stamp="s")
            await talk.wait_lines(3)
        events = [json.loads(line) for line in talk.lines]
        assert [event["ev"] for event in events] == ["message", "odd.one", "message"]
        assert (events[0]["text"], events[0]["from"]["name"]) == ("a", "ada")
        assert events[1] == {"ev": "odd.one", "room": "public", "words": "\x1b[2J☕"}
        assert events[2] == server.rooms["public"].events[-1]
        assert "".join(talk.lines).isascii()


@pytest.mark.anyio
@pytest.mark.usefixtures("deadline")
class TestPipeInABooth:
    """A line needs somebody who hears it."""

    async def test_lines_wait_for_a_stranger(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard("psst"), private=True)
        async with talk.held():
            await talk.wait_words("the lines wait")
            async with Client.connect(server.url, name="bo", private=True) as bo:
                await talk.wait_lines(1)
                assert bo.room is not None
                talk.keyboard.type("bye")
                talk.keyboard.end()
                await talk.wait_lines(2)
        assert server.said == ["psst", "bye"]
        assert talk.words == [
            f"connected to {server.url} as ada",
            "looking for a stranger ...",
            "the lines wait until a stranger is there",
            "you are talking with a stranger; say hi",
        ]

    async def test_who_must_accept_something_first_says_nothing(self, server: V1Server) -> None:
        server.required = {"version": "2026", "asks_age": False}
        talk = Talk(server, Keyboard("psst"), private=True)
        assert await talk.chat.hold() == 1
        assert "before you meet strangers you must accept the terms" in talk.words
        assert server.said == []

    async def test_it_ends_with_the_booth(self, server: V1Server) -> None:
        """What comes is not for another stranger."""
        talk = Talk(server, Keyboard("psst"), private=True)
        async with talk.held(1):
            async with Client.connect(server.url, name="bo", private=True):
                await talk.wait_lines(1)
            await talk.wait_words("the stranger has left")
        assert talk.words[-1] == "the stranger has left"


@pytest.mark.anyio
@pytest.mark.usefixtures("deadline")
class TestPerson:
    """Input that is typed: it lasts until Ctrl-D, across restarts of the server."""

    async def test_only_what_holds_something_is_said(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard("", "a", "  ").end(), interactive=True)
        assert await talk.chat.hold() == 0
        assert talk.lines == ["ada> a"]

    async def test_a_refused_text_is_given_back_whole(self, server: V1Server) -> None:
        """The terminal no longer shows what was typed."""
        text = "!refuse " + "x" * 100
        talk = Talk(server, Keyboard(text).end(), interactive=True)
        assert await talk.chat.hold() == 0
        assert talk.words[-1] == f"refused (too_large: too_large it is): {text}"

    async def test_a_restart_is_lived_through(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard(), interactive=True)
        async with talk.held():
            await server.wait_people(1)
            server.gate.clear()
            for connection in list(server.persons):
                await connection.close(4000, "as asked")
            await talk.wait_words("connecting again")
            server.say("anyone?")
            server.say("hm")
            talk.keyboard.type("here")
            await talk.wait_words("to be said")
            server.gate.set()
            await talk.wait_lines(3)
        assert talk.lines == ["bo> anyone?", "bo> hm", "ada> here"]
        assert talk.words == [
            f"connected to {server.url} as ada, in the public room",
            "disconnected with 4000: as asked",
            "connecting again in 0.0 s; Ctrl-C leaves",
            "to be said once the connection is back: here",
            "back: 2 messages caught up, none missed",
        ]

    async def test_a_gap_is_admitted(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard("a"), interactive=True)
        async with talk.held():
            await talk.wait_lines(1)
            server.forget()
            server.drop()
            await talk.wait_words("back: some messages may be missing")
            server.tell(ev="gap", room="public", epoch="e", off=7)
            await talk.wait_words("some messages may be missing", times=2)
        assert talk.words.count("some messages may be missing") == 1

    async def test_what_waits_is_given_back_in_the_end(self, server: V1Server) -> None:
        """Ctrl-C while the server is away."""
        talk = Talk(server, Keyboard("a"), interactive=True)
        holding = asyncio.create_task(talk.chat.hold())
        await talk.wait_lines(1)
        server.gate.clear()
        server.drop()
        await talk.wait_words("connecting again")
        talk.keyboard.type("b")
        await talk.wait_words("to be said")
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        assert talk.words[-1] == "not confirmed: b"

    async def test_who_was_kicked_stays_away(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard("!close 4506"), interactive=True)
        assert await talk.chat.hold() == 1
        assert talk.words[1:] == ["disconnected with 4506: as asked", "not confirmed: !close 4506"]

    async def test_leaving_while_away_is_a_failure(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard(), interactive=True)
        async with talk.held(1):
            await server.wait_people(1)
            server.gate.clear()
            server.drop()
            await talk.wait_words("connecting again")

    async def test_it_gives_up_at_last(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard(), interactive=True, attempts=3)
        async with talk.held(1):
            await server.wait_people(1)
            server.refusals = [{"code": "unavailable", "retry": True}] * 3
            server.drop()
            await talk.wait_words("giving up")
        assert talk.words[3:] == [
            *("still not connected: unavailable it is", "connecting again in 0.0 s; Ctrl-C leaves") * 2,
            "giving up: unavailable it is",
        ]

    async def test_another_name_than_wished_is_told(self, server: V1Server) -> None:
        server.refusals = [{"code": "bad_name"}]
        talk = Talk(server, Keyboard("a").end(), interactive=True, insist=False)
        assert await talk.chat.hold() == 0
        assert talk.words[1] == "ada is not allowed here, or taken; others call you Quiet Otter"

    async def test_what_others_do_is_told(self, server: V1Server) -> None:
        bo = {"id": "p9", "name": "bo", "role": "guest"}
        cy = {**bo, "name": "cy"}
        talk = Talk(server, Keyboard(), interactive=True)
        async with talk.held():
            await server.wait_people(1)
            server.tell(ev="member.joined", room="public", member=bo, count=2)
            server.tell(ev="member.renamed", room="public", member=cy)
            server.tell(ev="member.left", room="public", member=cy, count=1, reason="lost")
            off = {"room": "public", "mid": "m", "ts": 1, "from": cy}
            server.tell(ev="message.edited", off=1, text="ho", **off)
            server.tell(ev="message.deleted", off=2, **off)
            server.tell(ev="message.reaction", off=3, emoji="☕", on=True, **off)
            server.tell(ev="message.reaction", off=4, emoji="☕", on=False, **off)
            server.tell(ev="typing", room="public", on=True, **{"from": cy})
            server.tell(ev="message", off=5, deleted=True, text="", **off)
            server.tell(ev="message", off=6, text="hi", **{**off, "from": {**cy, "plain": True}})
            server.tell(ev="notice", level="info", code="c", text="tea\x1b[2J")
            await talk.wait_words("notice: tea␛[2J")
        assert talk.lines == ["cy> ho (edited)", "~cy> hi"]
        assert talk.words[1:-1] == [
            "bo came in (2 here)",
            "bo is cy now",
            "cy went out (1 here)",
            "cy took a message back",
            "cy reacts: ☕",
        ]

    async def test_names_are_not_remembered_without_end(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard(), interactive=True)
        async with talk.held():
            await server.wait_people(1)
            for number in range(KNOWN + 10):
                server.say("hi", f"bo{number}")
            await talk.wait_lines(KNOWN + 10)
        assert len(talk.chat._known) == KNOWN


@pytest.mark.anyio
@pytest.mark.usefixtures("deadline")
class TestCommands:
    """Lines that begin with a slash are for us, if a person typed them."""

    async def test_help_and_the_end(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard("/help", "/?", "/quit", "never"), interactive=True)
        assert await talk.chat.hold() == 0
        assert talk.words[1:] == HELP.splitlines() * 2
        assert server.said == []

    async def test_a_slash_can_be_said(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard("//help", "/me waves", "///"), interactive=True)
        async with talk.held():
            await talk.wait_lines(3)
        assert server.said == ["/help", "* ada waves", "//"]

    @pytest.mark.parametrize(
        ("typed", "words"),
        [
            ("/fly high", "not said: /fly high"),
            ("/etc/passwd", "not said: /etc/passwd"),
            ("/", "not said: /"),
            ("/me", "not said: /me"),
            ("/name", "/name needs a name"),
            ("/block", "/block needs a name"),
            ("/next", "/next is for booths: parlour chat --private; /quit leaves"),
            ("/leave", "/leave is for booths: parlour chat --private; /quit leaves"),
            ("/report spam", "/report is for booths: parlour chat --private; /block hides someone here"),
            ("/accept", "/accept: there is nothing to accept"),
            ("/search", "/search needs the words to look for"),
            ("/block cy", "/block: nobody here is called cy; /who lists them"),
            ("/block ada", "/block: nobody here is called ada; /who lists them"),
        ],
    )
    async def test_what_cannot_be_done_is_a_hint(self, server: V1Server, typed: str, words: str) -> None:
        talk = Talk(server, Keyboard(typed), interactive=True)
        async with talk.held():
            await talk.wait_words(words)
        assert server.said == []
        assert {command["op"] for command in server.heard} <= {"hello", "presence"}

    async def test_who_and_name(self, server: V1Server) -> None:
        async with Client.connect(server.url, name="bo"):
            talk = Talk(server, Keyboard("/who", "/NAME eva"), interactive=True)
            async with talk.held():
                await talk.wait_words("2 here: bo, ada (you)")
                await talk.wait_words("you are eva now")
                talk.keyboard.type("hi")
                await talk.wait_lines(1)
            assert talk.lines == ["eva> hi"]

    async def test_what_is_found_is_shown_oldest_first(self, server: V1Server) -> None:
        """One line each, whatever stands in it."""
        server.say("tea\npublic: cy> hi\x1b[2J")
        for number in range(11):
            server.say(f"tea {number}")
        talk = Talk(server, Keyboard("/search tea", "/search go"), interactive=True)
        async with talk.held():
            await talk.wait_words("nothing found")
        assert talk.words[1:] == [
            *(f"public: bo> tea {number}" for number in range(1, 11)),
            "10 found, and older ones",
            "nothing found",
        ]
        server.forget()
        server.say("tea\npublic: cy> hi\x1b[2J")
        talk = Talk(server, Keyboard("/search tea"), interactive=True)
        async with talk.held():
            await talk.wait_words("1 found")
        assert talk.words[1] == "public: bo> tea␊public: cy> hi␛[2J"

    async def test_what_moderators_do_is_told(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard(), interactive=True)
        async with talk.held(1):
            await server.wait_people(1)
            room: dict[str, Any] = {"ev": "room.changed", "room": "public", "title": "Tea"}
            server.tell(**room, locked=True, slow_ms=0)
            server.tell(**room, locked=False, slow_ms=1_500)
            server.tell(**room, locked=False, slow_ms=0)
            server.tell(ev="moderated", action="muted", reason="spam", room="public", until=10**18)
            server.tell(ev="moderated", action="muted", reason="", until=1_764_000_000_000)
            server.tell(**room, locked=False, slow_ms=0, archived=True)
            server.tell(ev="moderated", action="banned", reason="enough")
            server.tell(ev="bye", code=4507, reason="banned", reconnect=False)
            server.drop()
            await talk.wait_words("disconnected with 4507")
        assert [words for words in talk.words[1:] if "2025-11-24" not in words] == [
            "public is locked: only moderators speak",
            "public is slow: one message each 1.5 seconds",
            "public is open: Tea",
            "a moderator: you are muted in public: spam",
            "public is closed",
            "the room is no more",
            "a moderator: you are banned: enough",
            "disconnected with 4507: banned",
        ]

    async def test_a_refused_command_is_told(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard("/next"), interactive=True, private=True)
        async with talk.held():
            await talk.wait_words("looking for a stranger")
            talk.keyboard.type("/who")
            await talk.wait_words("/who: you are in no room")

    async def test_a_command_on_a_lost_line(self, server: V1Server) -> None:
        server.deaf = {"match.next"}
        talk = Talk(server, Keyboard("/next"), interactive=True, private=True)
        async with talk.held():
            await server.wait_heard("match.next")
            server.drop()
            await talk.wait_words("/next: the connection was lost before the answer")
            await talk.wait_words("connected again")

    async def test_who_is_blocked_is_heard_no_more(self, server: V1Server) -> None:
        async with Client.connect(server.url, name="bo") as bo, Client.connect(server.url, name="cy") as cy:
            talk = Talk(server, Keyboard("/block BO"), interactive=True)
            async with talk.held():
                await talk.wait_words("blocked bo: you hear them no more")
                await bo.send("hi")
                await cy.send("ho")
                await talk.wait_lines(1)
            assert talk.lines == ["cy> ho"]
            (block,) = [command for command in server.heard if command["op"] == "block"]
            assert (block["person"], "room" in block) == (bo.person.id, False)

    async def test_who_went_can_be_blocked_and_two_of_a_name_cannot(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard(), interactive=True)
        async with talk.held():
            await server.wait_people(1)
            server.say("hi", "bo")
            for id in ("p8", "p9"):
                server.say("ho", sender={"id": id, "name": "di", "role": "guest", "plain": True})
            await talk.wait_lines(3)
            talk.keyboard.type("/block bo")
            await talk.wait_words("blocked bo")
            talk.keyboard.type("/block ~di")
            await talk.wait_words("/block: several are called ~di")


@pytest.mark.anyio
@pytest.mark.usefixtures("deadline")
class TestPersonInABooth:
    """A person who talks with strangers."""

    async def test_from_one_stranger_to_the_next(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard("hello?"), interactive=True, private=True)
        async with talk.held():
            await talk.wait_words("not said, nobody is here to hear it: hello?")
            async with Client.connect(server.url, name="bo", private=True) as bo:
                await talk.wait_words("you are talking with a stranger; say hi")
                talk.keyboard.type("hi")
                await talk.wait_lines(1)
                await bo.send("ho")
                await talk.wait_lines(2)
            await talk.wait_words("the stranger has left; /next looks for another")
            talk.keyboard.type("/next")
            await talk.wait_words("looking for a stranger ...", times=2)
            async with Client.connect(server.url, name="cy", private=True) as cy:
                await talk.wait_words("you are talking with a stranger", times=2)
                talk.keyboard.type("/next")
                await talk.wait_words("looking for a stranger ...", times=3)
                async for event in cy:
                    if event.kind == "match.ended":
                        break
        assert talk.lines == ["ada> hi", "bo> ho"]
        assert sum("has left" in words for words in talk.words) == 1

    async def test_a_stranger_who_goes_away_and_comes_back(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard(), interactive=True, private=True)
        async with talk.held():
            await server.wait_people(1)
            async with Client.connect(server.url, name="bo", private=True, random=lambda: 0.0):
                await talk.wait_words("you are talking")
                list(server.persons)[1].transport.abort()
                await talk.wait_words("the stranger is back")
        away = talk.words.index("the stranger lost the connection, and may come back")
        assert talk.words[away + 1] == "the stranger is back"

    async def test_a_booth_survives_our_own_loss(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard(), interactive=True, private=True)
        async with talk.held():
            await server.wait_people(1)
            async with Client.connect(server.url, name="bo", private=True, random=lambda: 0.0) as bo:
                await talk.wait_words("you are talking")
                server.gate.clear()
                next(iter(server.persons)).transport.abort()
                await talk.wait_words("connecting again")
                await bo.send("still there?")
                server.gate.set()
                await talk.wait_words("back: 1 message caught up, none missed")
        assert talk.lines == ["bo> still there?"]

    async def test_a_booth_that_is_gone_when_one_comes_back(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard(), interactive=True, private=True)
        async with talk.held():
            await server.wait_people(1)
            async with Client.connect(server.url, name="bo", private=True):
                await talk.wait_words("you are talking")
                server.forget()
                server.drop()
                await talk.wait_words("the booth is over; /next looks for another")
        assert talk.words[-2:] == ["connected again", "the booth is over; /next looks for another"]

    async def test_leaving_without_going(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard("/leave"), interactive=True, private=True)
        async with talk.held():
            await talk.wait_words("not looking any more")
            talk.keyboard.type("/next")
            await talk.wait_words("looking for a stranger ...", times=2)
            async with Client.connect(server.url, name="bo", private=True):
                await talk.wait_words("you are talking")
                talk.keyboard.type("/leave")
                await talk.wait_words("you have left; /next looks for a stranger")
        assert talk.words[-1] == "you have left; /next looks for a stranger"

    async def test_blocking_the_stranger(self, server: V1Server) -> None:
        """The one who is there, or who just left."""
        talk = Talk(server, Keyboard("/block"), interactive=True, private=True)
        async with talk.held():
            await talk.wait_words("/block: there is no stranger yet")
            async with Client.connect(server.url, name="bo", private=True) as bo:
                await talk.wait_words("you are talking")
                talk.keyboard.type("/block")
                await talk.wait_words("blocked: you two never meet again")
                async for event in bo:
                    if event.kind == "match.ended":
                        break
            talk.keyboard.type("/block")
            await talk.wait_words("blocked: you two never meet again", times=2)
        first, again = [command for command in server.heard if command["op"] == "block"]
        assert (first["person"], first["room"]) == (again["person"], again["room"]) == (bo.person.id, first["room"])
        assert not any("another place" in words or "has left" in words for words in talk.words)

    async def test_reporting_the_stranger(self, server: V1Server) -> None:
        talk = Talk(server, Keyboard("/report", "/report rude"), interactive=True, private=True)
        async with talk.held():
            await talk.wait_words("/report needs a reason")
            await talk.wait_words("/report: there is no stranger yet")
            async with Client.connect(server.url, name="bo", private=True) as bo:
                await talk.wait_words("you are talking")
                await bo.send("psst")
                await talk.wait_lines(1)
                talk.keyboard.type("/report rude " + "x" * 300)
                await talk.wait_words("reported as r1, and blocked: you two never meet again; /next looks for another")
        (report,) = [command for command in server.heard if command["op"] == "report"]
        assert ([message["text"] for message in report["messages"]], report["block"]) == (["psst"], True)
        assert report["reason"] == "rude " + "x" * 195
        assert not any("another place" in words or "has left" in words for words in talk.words)

    async def test_terms_are_accepted_first(self, server: V1Server) -> None:
        server.required = {"version": "2026", "asks_age": True, "url": "https://a.example/terms"}
        talk = Talk(server, Keyboard("/accept old", "/accept 30"), interactive=True, private=True)
        async with talk.held():
            await talk.wait_words("looking for a stranger ...")
        assert talk.words[1:] == [
            "before you meet strangers you must accept the terms: https://a.example/terms",
            "/accept AGE, in years, does that",
            "/accept: write your age in years, as /accept 30",
            "accepted",
            "looking for a stranger ...",
        ]

    async def test_what_the_stranger_shares_is_told(self, server: V1Server) -> None:
        peer = {"id": "p9", "name": "bo", "role": "guest"}
        talk = Talk(server, Keyboard(), interactive=True, private=True)
        async with talk.held():
            await server.wait_people(1)
            server.tell(ev="match.found", room="b", epoch="e", off=0, peer=peer, common=["tea", "go"])
            await talk.wait_words("you are talking with a stranger; say hi; you share: tea, go")
            server.tell(ev="match.ended", room="b", by="you")
            await talk.wait_words("you went on from another place")


# Input from a thread


@pytest.mark.anyio
@pytest.mark.usefixtures("deadline")
class TestLines:
    """Lines that a thread reads."""

    async def test_lines_come_in_order_and_end_for_good(self) -> None:
        lines = Lines(chunks(b"a\nb\n", b"c"), clock=lambda: 7.0)
        assert [await lines.next() for _ in range(5)] == [Typed("a", 7.0), Typed("b", 7.0), Typed("c", 7.0), None, None]

    async def test_input_that_breaks_is_at_its_end(self) -> None:
        def broken() -> bytes:
            raise OSError("the terminal is gone")

        assert await Lines(broken).next() is None

    async def test_it_does_not_read_far_ahead(self) -> None:
        """A large file waits where it is."""
        reads = 0

        def read() -> bytes:
            nonlocal reads
            reads += 1
            return b"x\n"

        lines = Lines(read)
        for _ in range(100):
            await lines.next()
        assert reads <= 100 + 20

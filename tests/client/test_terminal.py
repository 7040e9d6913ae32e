"""The terminal chat without a terminal: its text rules, its ledger, its screen, and one conversation at a time."""

import asyncio
import io
import json
import math
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.client import FRAME_LIMIT, Client, frame, line
from parlour.client.terminal import (
    ATTEMPTS,
    LINE_OVERHEAD,
    WINDOW,
    Chat,
    Lines,
    Look,
    Manner,
    Screen,
    Typed,
    Unanswered,
    login_name,
    neutral,
    pauses,
    rows,
    shortened,
    split_lines,
)
from parlour.errors import ConnectError
from tests.client.plain_server import PlainServer

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


def test_pauses_grow_and_end() -> None:
    """Spread out between nothing and a limit that doubles up to half a minute."""
    longest = list(pauses(lambda: 1.0))
    assert longest[:5] == [2.0, 4.0, 8.0, 16.0, 30.0]
    assert max(longest) == 30.0
    assert len(longest) == ATTEMPTS
    assert set(pauses(lambda: 0.0)) == {0.0}


# What was said and not answered


def test_each_line_answers_one_of_ours() -> None:
    """Whatever the order; lines of others, and our own a second time, answer nothing."""
    unanswered = Unanswered("ada")
    for text in ("a", "b\x1bc", "a"):
        unanswered.said(text, 10)
    assert not unanswered.heard("bo> a")
    assert unanswered.heard("ada> b c")
    assert unanswered.heard("ada> a")
    assert unanswered.weight == 10
    assert unanswered.heard("ada> a")
    assert unanswered.weight == 0
    assert not unanswered.heard("ada> a")


def test_a_refusal_answers_the_line_that_never_comes_back() -> None:
    """In one turn of the server lines overtake refusals, so which one was refused is known at the end."""
    unanswered = Unanswered("ada")
    for text in ("a", "b", "c"):
        unanswered.said(text, 10)
    assert unanswered.heard("ada> a")
    assert unanswered.heard("ada> c")
    assert unanswered.take_refused() == []
    assert unanswered.heard("! too_large: shorten it")
    assert unanswered.take_refused() == ["b"]
    assert unanswered.take_refused() == []
    assert unanswered.weight == 0


def test_other_words_of_the_server_answer_nothing() -> None:
    unanswered = Unanswered("ada")
    assert not unanswered.heard("! bad_field: nothing was said")
    unanswered.said("a", 10)
    assert not unanswered.heard("! joined: someone came in")
    assert not unanswered.heard("!")
    assert unanswered.forget() == ["a"]
    assert unanswered.weight == 0


@given(st.lists(st.tuples(st.text(max_size=5).filter(lambda text: "\x00" not in text), st.booleans())), st.randoms())
def test_all_is_answered_at_last(said: Sequence[tuple[str, bool]], random: Random) -> None:
    """Any texts, any of them refused, answers in any order."""
    unanswered = Unanswered("ada")
    answers = []
    for text, refused in said:
        unanswered.said(text, 1)
        answers.append("! bad_field: no" if refused else line("ada", text))
    random.shuffle(answers)
    assert all(unanswered.heard(answer) for answer in answers)
    assert unanswered.weight == 0
    assert len(unanswered.take_refused()) == sum(refused for _, refused in said)


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
        self.screen = Screen(self.terminal, self.terminal, look, name="ada", clock=self.clock)

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
    desk.screen.heard("bo> hi")
    desk.type("hello")
    desk.enter("hello")
    desk.screen.heard("ada> hello")
    assert desk.seen == ["bo> hi", "ada> hello"]


def test_a_long_typed_line_goes_as_a_whole() -> None:
    """Also after the answer to the line before."""
    desk = Desk()
    desk.screen.heard("bo> hi")
    desk.type("hello")
    desk.enter("hello")
    desk.screen.heard("ada> hello", own=True)
    desk.type("x" * 45)
    desk.enter("x" * 45)
    assert desk.seen == ["bo> hi", "ada> hello"]


def test_a_line_that_came_between_stays() -> None:
    """It broke the typed line in two; only the second part is surely ours alone."""
    desk = Desk()
    desk.type("x" * 45)
    desk.screen.heard("bo> hi")
    desk.type("yes")
    desk.enter("x" * 45 + "yes")
    assert "bo> hi" in "".join(desk.seen)
    assert "yes" not in desk.seen


def test_a_line_that_came_just_before_enter_stays() -> None:
    """It can't be told whether it stands below what was typed."""
    desk = Desk()
    desk.type("hello")
    desk.terminal.write("\n")
    desk.screen.heard("bo> hi")
    desk.screen.typed(Typed("hello", desk.clock.now))
    assert desk.seen == ["hello", "bo> hi"]


def test_lines_pasted_at_once_all_go() -> None:
    desk = Desk()
    desk.screen.heard("bo> hi")
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


def written(look: Look, *lines: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    screen = Screen(out, err, look, name="ada", clock=Clock())
    for text in lines:
        screen.heard(text)
    screen.status("good to know")
    screen.warn("must be known\x1b[2J")
    return out.getvalue(), err.getvalue()


def test_lines_and_words_go_apart() -> None:
    """Without colours unless there is a terminal, and never with a stranger's escapes."""
    out, err = written(Look(), "bo> hi\x1b[2J")
    assert out == "bo> hi␛[2J\n"
    assert err == "good to know\nmust be known␛[2J\n"


def test_quiet_tells_only_what_must_be_known() -> None:
    assert written(Look(quiet=True))[1] == "must be known␛[2J\n"


def test_json_keeps_each_line_exactly() -> None:
    hostile = "bo> \x1b[2J\u202e ☕"
    out, _ = written(Look(json=True, colour=True), hostile, "! bad_field: no")
    assert [json.loads(each) for each in out.splitlines()] == [{"line": hostile}, {"line": "! bad_field: no"}]
    assert out.isascii()


def test_colours_are_few() -> None:
    """The names of others, the server's own words, and ours about the connection."""
    out, err = written(Look(colour=True, colour_status=True), "bo> hi", "ada> hi", "! bad_field: no", "odd")
    assert out.splitlines() == ["\x1b[1mbo> \x1b[0mhi", "ada> hi", "\x1b[33m! bad_field: no\x1b[0m", "odd"]
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
        connect: Callable[[], AbstractAsyncContextManager[Client]],
        keyboard: Keyboard,
        *,
        interactive: bool = False,
        patience: float = 20.0,
        out: Paper | None = None,
    ) -> None:
        self._out, self._err = out or Paper(), Paper()
        self.keyboard = keyboard
        screen = Screen(self._out, self._err, Look(), name="ada", clock=Clock())
        manner = Manner(name="ada", interactive=interactive, patience=patience, random=lambda: 0.0)
        self.chat = Chat(connect, keyboard, screen, manner)

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


def connecting(server: PlainServer, *, private: bool = False) -> Callable[[], AbstractAsyncContextManager[Client]]:
    return lambda: Client.connect(server.url, name="ada", private=private)


@pytest.mark.anyio
@pytest.mark.usefixtures("deadline")
class TestPipe:
    """Input that is not typed: it is said line by line, and each line must come back."""

    async def test_it_ends_with_its_last_echo(self, server: PlainServer) -> None:
        talk = Talk(connecting(server), Keyboard("a", "", "b\x07").end())
        assert await talk.chat.hold() == 0
        assert talk.lines == ["ada> a", "ada> ", "ada> b "]
        assert talk.words == [f"connected to {server.url} as ada, in the public room"]

    async def test_nothing_to_say_is_fine(self, server: PlainServer) -> None:
        assert await Talk(connecting(server), Keyboard().end()).chat.hold() == 0

    async def test_a_booth_is_named(self, server: PlainServer) -> None:
        talk = Talk(connecting(server, private=True), Keyboard("a").end())
        assert await talk.chat.hold() == 0
        assert talk.words == [f"connected to {server.url} as ada, in a booth, waiting for a stranger"]

    async def test_it_waits_for_lines_that_the_server_holds(self, server: PlainServer) -> None:
        talk = Talk(connecting(server), Keyboard("/hold").end())
        holding = asyncio.create_task(talk.chat.hold())
        await server.wait_said(1)
        assert not holding.done()
        server.release.set()
        assert await holding == 0

    async def test_the_servers_other_words_are_no_answer(self, server: PlainServer) -> None:
        talk = Talk(connecting(server), Keyboard("/notice").end())
        assert await talk.chat.hold() == 0
        assert talk.lines == ["! joined: someone came in", "ada> /notice"]

    async def test_a_refused_line_is_answered_and_told(self, server: PlainServer) -> None:
        talk = Talk(connecting(server), Keyboard("/refuse", "a").end())
        assert await talk.chat.hold() == 1
        assert talk.lines == ["! bad_field: this is refused", "ada> a"]
        assert talk.words[1:] == ["refused: /refuse"]

    async def test_a_line_too_long_for_the_wire_is_not_sent(self, server: PlainServer) -> None:
        talk = Talk(connecting(server), Keyboard("x" * FRAME_LIMIT, "a").end())
        assert await talk.chat.hold() == 1
        assert talk.words[1] == f"not sent, too long: {'x' * 80}..."
        assert server.said == [{"username": "ada", "message": "a"}]

    async def test_silence_ends_it(self, server: PlainServer) -> None:
        talk = Talk(connecting(server), Keyboard("/never").end(), patience=0.01)
        assert await talk.chat.hold() == 1
        assert talk.words[1:] == ["no answer for 0.01 s", "not confirmed: /never"]

    async def test_no_more_is_said_than_the_server_holds(self, server: PlainServer) -> None:
        """Unanswered lines stay well under the 64 KiB after which the server stops reading, and answering pings."""
        text = "/never " + "x" * 1000
        talk = Talk(connecting(server), Keyboard(*[text] * 100).end())
        holding = asyncio.create_task(talk.chat.hold())
        fitting = WINDOW // (len(frame("ada", text)) + LINE_OVERHEAD)
        await server.wait_said(fitting)
        server.tell("bo> still there?")
        await talk.wait_lines(1)
        assert len(server.said) == fitting
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        assert len(server.said) == fitting

    async def test_a_line_larger_than_the_window_is_said_alone(self, server: PlainServer) -> None:
        text = "☕" * 10_000 + "x" * (WINDOW - 30_000)
        assert await Talk(connecting(server), Keyboard("a", text, "b").end()).chat.hold() == 0

    async def test_many_lines_all_come_back(self, server: PlainServer) -> None:
        lines = [f"line {number}" for number in range(2000)]
        talk = Talk(connecting(server), Keyboard(*lines).end())
        assert await talk.chat.hold() == 0
        assert talk.lines == [f"ada> {text}" for text in lines]

    async def test_a_lost_connection_is_told_with_what_may_be_lost(self, server: PlainServer) -> None:
        talk = Talk(connecting(server), Keyboard("a", "/close 4000"))
        assert await talk.chat.hold() == 1
        assert talk.words[1:] == ["disconnected with 4000: as asked", "not confirmed: /close 4000"]

    async def test_no_connection_is_an_error(self) -> None:
        talk = Talk(Refusing, Keyboard("a").end())
        with pytest.raises(ConnectError):
            await talk.chat.hold()

    async def test_output_that_cannot_be_written_ends_it(self, server: PlainServer) -> None:
        talk = Talk(connecting(server), Keyboard("a"), out=Torn())
        with pytest.raises(BrokenPipeError):
            await talk.chat.hold()


class Refusing(AbstractAsyncContextManager[Client]):
    """A connection that can't be had."""

    async def __aenter__(self) -> Client:
        raise ConnectError("http://a.example", "connection refused")

    async def __aexit__(self, *_: object) -> None:
        pass


@pytest.mark.anyio
@pytest.mark.usefixtures("deadline")
class TestPerson:
    """Input that is typed: it lasts until Ctrl-D, across restarts of the server."""

    async def test_only_what_holds_something_is_said(self, server: PlainServer) -> None:
        talk = Talk(connecting(server), Keyboard("", "a", "  ").end(), interactive=True)
        assert await talk.chat.hold() == 0
        assert talk.lines == ["ada> a"]

    async def test_a_refused_text_is_given_back_whole(self, server: PlainServer) -> None:
        """The terminal no longer shows what was typed."""
        text = "/refuse " + "x" * 100
        talk = Talk(connecting(server), Keyboard(text).end(), interactive=True)
        assert await talk.chat.hold() == 0
        assert talk.words[-1] == f"refused: {text}"

    async def test_a_restart_is_lived_through(self, server: PlainServer) -> None:
        talk = Talk(connecting(server), Keyboard("/close 4000"), interactive=True)
        holding = asyncio.create_task(talk.chat.hold())
        await talk.wait_words("connected to", times=2)
        talk.keyboard.type("back")
        talk.keyboard.end()
        assert await holding == 0
        assert talk.lines == ["ada> back"]
        connected = f"connected to {server.url} as ada, in the public room"
        assert talk.words == [
            connected,
            "disconnected with 4000: as asked",
            "not confirmed: /close 4000",
            "connecting again in 0.0 s; Ctrl-C leaves",
            connected,
        ]

    async def test_who_was_kicked_stays_away(self, server: PlainServer) -> None:
        talk = Talk(connecting(server), Keyboard("/close 4506"), interactive=True)
        assert await talk.chat.hold() == 1
        assert talk.words[1] == "disconnected with 4506: as asked"

    async def test_what_is_typed_while_away_is_not_sent_later(self, server: PlainServer) -> None:
        """Behind the next connection may be another stranger."""
        again = asyncio.Event()
        attempts = iter((connecting(server), held(again, connecting(server))))
        talk = Talk(lambda: next(attempts)(), Keyboard("/close 4000"), interactive=True)
        holding = asyncio.create_task(talk.chat.hold())
        await talk.wait_words("connecting again")
        talk.keyboard.type("anyone?")
        await talk.wait_words("not sent, not connected: anyone?")
        again.set()
        await talk.wait_words("connected to", times=2)
        talk.keyboard.end()
        assert await holding == 0
        assert [said["message"] for said in server.said] == ["/close 4000"]

    async def test_leaving_while_away_is_a_failure(self, server: PlainServer) -> None:
        attempts = iter((connecting(server), held(asyncio.Event(), connecting(server))))
        talk = Talk(lambda: next(attempts)(), Keyboard("/close 4000").end(), interactive=True)
        assert await talk.chat.hold() == 1

    async def test_it_gives_up_at_last(self, server: PlainServer) -> None:
        def attempts() -> Iterator[Callable[[], AbstractAsyncContextManager[Client]]]:
            yield connecting(server)
            while True:
                yield Refusing

        attempt = attempts()
        talk = Talk(lambda: next(attempt)(), Keyboard("/close 4000"), interactive=True)
        assert await talk.chat.hold() == 1
        assert talk.words.count("still not connected: connection refused") == ATTEMPTS
        assert talk.words[-1] == "giving up"


def held(
    until: asyncio.Event, connect: Callable[[], AbstractAsyncContextManager[Client]]
) -> Callable[[], AbstractAsyncContextManager[Client]]:
    """A connection that takes its time."""

    @asynccontextmanager
    async def later() -> AsyncIterator[Client]:
        await until.wait()
        async with connect() as client:
            yield client

    return later


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

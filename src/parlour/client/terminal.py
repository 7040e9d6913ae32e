"""The terminal chat, line by line: what is typed or piped is said, what is heard is printed.

- `Unanswered`: what was said and has not come back yet.
- `Screen`: what is printed where, and what of a stranger's text a terminal may see.
- `Lines`: what is typed or piped, read by a thread.
- `Chat`: one conversation over these three. `run` gives it the real terminal.
"""

import asyncio
import getpass
import io
import json
import math
import os
import secrets
import select
import shutil
import sys
import threading
import time
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Final, Protocol, TextIO

from parlour.client import DEFAULT_URL, FRAME_LIMIT, Address, Client, frame
from parlour.client import line as own_line
from parlour.errors import ERROR_CODES, ConnectError, Disconnected, SettingsError

WINDOW: Final = 32 * 1024
"""Bytes said and not answered, at most. The server holds twice as much over the rate before it stops reading; a
connection that is not read gets no pong, and after a minute 4013."""

LINE_OVERHEAD: Final = 64
"""Bytes counted for each line beside its frame, as the server does."""

PATIENCE: Final = 60.0
"""Seconds without any answer to a line of ours after which a pipe gives up."""

GOODBYE: Final = 5.0
"""The same for a person who pressed Ctrl-D."""

AHEAD: Final = 16
"""Lines read from the input before they can be said."""

ATTEMPTS: Final = 20
"""Tries to connect again: about four minutes."""

UNCLEAR: Final = 0.05
"""Seconds around a print in which one can't tell whether Enter came before or after it."""

SHORT: Final = 80
"""Characters of a piped line in a report about it."""


# Text


def _mapped() -> Iterator[tuple[int, str]]:
    for code in range(0x20):
        yield code, chr(0x2400 + code)  # control pictures
    yield 0x7F, "\u2421"
    for code in (*range(0x80, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)):
        yield code, "\ufffd"


_NEUTRAL: Final = {code: text for code, text in _mapped() if code != ord("\t")}


def neutral(text: str) -> str:
    """The text without what could drive a terminal (ECMA-48 control codes) or turn round its direction (UAX #9), each
    such character replaced by a visible one. Tabs stay."""
    return text.translate(_NEUTRAL)


def rows(text: str, columns: int) -> int:
    """How many rows a typed line took on a terminal: rather too few than too many."""
    width = 0
    joined = False
    for character in text:
        if unicodedata.category(character) not in ("Mn", "Me", "Cf", "Cc", "Sk") and not joined:
            width += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        joined = character == "\u200d"
    return max(1, math.ceil(width / columns)) if columns > 0 else 1


def split_lines(read: Callable[[], bytes]) -> Iterator[str]:
    """The lines of a stream whose `read` gives some bytes, or none at its end.

    The last line may lack its line break. What is not UTF-8 becomes U+FFFD. Of a line longer than `FRAME_LIMIT` the
    rest is dropped: it can't be said anyway.
    """
    rest = b""
    while chunk := read():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield _decoded(line)
        rest = rest[: FRAME_LIMIT + 1]
    if rest:
        yield _decoded(rest)


def _decoded(line: bytes) -> str:
    return line.removesuffix(b"\r").decode(errors="replace")


def shortened(text: str) -> str:
    """The beginning of a text, for a report."""
    return text if len(text) <= SHORT else f"{text[:SHORT]}..."


def login_name() -> str:
    """The user's login name, or `guest` where there is none."""
    try:
        return getpass.getuser().strip() or "guest"
    except (OSError, KeyError, ImportError):  # what it raises differs between platforms and versions
        return "guest"


def pauses(random: Callable[[], float]) -> Iterator[float]:
    """Seconds to wait before each try to connect again: growing to half a minute, and spread out by `random` (0 to 1)
    so that the clients of a server that restarts do not come all at once."""
    for attempt in range(ATTEMPTS):
        yield random() * min(30.0, 2.0 ** (attempt + 1))


class Unanswered:
    """What was said under one name and has not been answered: by its own line, or by a refusal.

    The plain wire has no ids, so a line is known by its text alone: the same text, said at the same time by someone who
    uses the same name, answers it too. A refusal does not say which line it answers: which ones were refused is known
    once all others came back.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: deque[tuple[str, str, int]] = deque()  # the line expected, the text said, its weight
        self._refusals = 0  # refusals that came for some of those waiting
        self._refused: list[str] = []

    @property
    def weight(self) -> int:
        """Bytes of what is not answered."""
        return sum(weight for _, _, weight in self._waiting)

    def said(self, text: str, weight: int) -> None:
        """One more was said."""
        self._waiting.append((own_line(self._name, text), text, weight))

    def heard(self, line: str) -> bool:
        """A line came. Says whether it answers one of ours."""
        if not self._waiting:
            return False
        if line.startswith("! "):
            if line[2:].partition(":")[0] not in ERROR_CODES:
                return False
            self._refusals += 1
        else:
            place = next((at for at, (expected, _, _) in enumerate(self._waiting) if expected == line), None)
            if place is None:
                return False
            del self._waiting[place]
        if len(self._waiting) == self._refusals:
            self._refused += self.forget()
        return True

    def take_refused(self) -> list[str]:
        """The texts that turned out to be refused since the last call."""
        refused, self._refused = self._refused, []
        return refused

    def forget(self) -> list[str]:
        """Wait for none of them any longer. Gives their texts."""
        texts = [text for _, text, _ in self._waiting]
        self._waiting.clear()
        self._refusals = 0
        return texts


# Output


@dataclass(frozen=True, slots=True)
class Look:
    """How the output looks. `erase`: what is typed stands on the same terminal as the output, and gives way to the
    line that comes back. `columns` gives the terminal's width at the moment."""

    json: bool = False
    quiet: bool = False
    colour: bool = False
    colour_status: bool = False
    erase: bool = False
    columns: Callable[[], int] = lambda: 80


@dataclass(frozen=True, slots=True)
class Typed:
    """One line of input, and when it was read (monotonic seconds)."""

    text: str
    at: float


class Screen:
    """Lines to `out`, words about the conversation to `err`."""

    def __init__(self, out: TextIO, err: TextIO, look: Look, *, name: str, clock: Callable[[], float]) -> None:
        self._out = out
        self._err = err
        self._look = look
        self._own = f"{name.strip()}> "
        self._clock = clock
        self._printed_at = -math.inf
        self._broken = False  # something of others was printed since the last line was typed

    def heard(self, line: str, *, own: bool = False) -> None:
        """A line of the room; `own` if it answers one of ours."""
        if self._look.json:
            self._print(self._out, json.dumps({"line": line}))
        else:
            self._print(self._out, self._coloured(neutral(line)))
        self._broken = self._broken or not own

    def typed(self, typed: Typed) -> None:
        """The person pressed Enter: take what was typed off the terminal, for its line will come back.

        Nobody else's line is ever erased: nothing is if something was printed around the time of the Enter, and only
        the last row if something of others was printed since the Enter before, perhaps in the middle of the typing.
        """
        if self._look.erase and typed.at > self._printed_at + UNCLEAR:
            height = 1 if self._broken else rows(typed.text, self._look.columns())
            self._out.write(f"\x1b[{height}A\r\x1b[J")
            self._out.flush()
        self._broken = False

    def status(self, words: str) -> None:
        """Something good to know."""
        if not self._look.quiet:
            self._say(words, "2")

    def warn(self, words: str) -> None:
        """Something that must be known."""
        self._say(words, "33")

    def _say(self, words: str, style: str) -> None:
        words = neutral(words)
        self._broken = True
        self._print(self._err, f"\x1b[{style}m{words}\x1b[0m" if self._look.colour_status else words)

    def _coloured(self, line: str) -> str:
        if not self._look.colour or line.startswith(self._own):
            return line
        if line.startswith("! "):
            return f"\x1b[33m{line}\x1b[0m"
        name, mark, text = line.partition("> ")
        return f"\x1b[1m{name}{mark}\x1b[0m{text}" if mark else line

    def _print(self, stream: TextIO, text: str) -> None:
        stream.write(f"{text}\n")
        stream.flush()
        self._printed_at = self._clock()


# Input


class Input(Protocol):
    """Where lines come from."""

    async def next(self) -> Typed | None:
        """The next line, without its line break; None at the end, and ever after."""
        ...


class Lines:
    """The lines of a stream, read by a thread of their own: no event loop can wait for files and consoles alike.

    The thread ends with the process and never holds it up. Must be made inside the event loop.
    """

    def __init__(self, read: Callable[[], bytes], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Typed | None] = asyncio.Queue()
        self._space = threading.Semaphore(AHEAD)
        self._ended = False
        threading.Thread(target=self._run, name="parlour-input", daemon=True).start()

    async def next(self) -> Typed | None:
        """See `Input.next`."""
        if self._ended:
            return None
        typed = await self._queue.get()
        self._space.release()
        self._ended = typed is None
        return typed

    def _run(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            with suppress(OSError):  # a terminal that is gone, or not ours to read, is the end of the input
                for text in split_lines(self._read):
                    self._put(Typed(text, self._clock()))
            self._put(None)

    def _put(self, typed: Typed | None) -> None:
        self._space.acquire()
        self._loop.call_soon_threadsafe(self._queue.put_nowait, typed)


def reader(stream: TextIO | None) -> Callable[[], bytes]:
    """A function that gives the bytes of `stream` as they come, past its buffer.

    A thread that waits inside the buffered stream would hold its lock when the interpreter ends, which is fatal.
    """
    if stream is None:  # started with a closed input
        return bytes
    number = stream.fileno()
    raw = io.open(number, "rb", buffering=0, closefd=False)  # noqa: SIM115, UP020 - lives as long as the process

    def read() -> bytes:
        while (chunk := raw.read(64 * 1024)) is None:  # whoever shares the input made it non-blocking
            select.select([number], [], [])
        return chunk

    return read


# The conversation


@dataclass(frozen=True, slots=True)
class Manner:
    """How a conversation is held: by a person who types (`interactive`) or by a pipe; `patience` is in seconds."""

    name: str
    interactive: bool
    patience: float = PATIENCE
    random: Callable[[], float] = secrets.SystemRandom().random


class Chat:
    """One conversation: speaks what is typed, prints what is heard, until the input or the connection ends."""

    def __init__(
        self, connect: Callable[[], AbstractAsyncContextManager[Client]], typed: Input, screen: Screen, manner: Manner
    ) -> None:
        self._connect = connect
        self._input = typed
        self._screen = screen
        self._manner = manner
        self._client: Client | None = None  # while connected
        self._connected = asyncio.Event()  # has been connected once
        self._unanswered = Unanswered(manner.name)
        self._answered = asyncio.Event()
        self._lost = 0  # lines that were not said, as far as is known

    async def hold(self) -> int:
        """Talk until it is over. Gives the exit code: 0, or 1 if the connection was lost or a piped line was not said.

        Raises `ConnectError` if there was no connection at all, `SettingsError` for a URL that can't be one,
        `OSError` if the output can't be written.
        """
        speaking = asyncio.create_task(self._speak())
        listening = asyncio.create_task(self._listen())
        try:
            await asyncio.wait({speaking, listening}, return_when=asyncio.FIRST_COMPLETED)
            return await (speaking if speaking.done() else listening)
        finally:
            speaking.cancel()
            listening.cancel()
            await asyncio.gather(speaking, listening, return_exceptions=True)

    # Listening

    async def _listen(self) -> int:
        waits = pauses(self._manner.random)
        while True:
            try:
                async with self._connect() as client:
                    self._greet(client)
                    async for line in client:
                        self._hear(line)
                        waits = pauses(self._manner.random)
            except ConnectError as error:
                if not self._connected.is_set():
                    raise
                self._screen.status(f"still not connected: {error.reason}")
            except Disconnected as error:
                self._part(error)
                if not (self._manner.interactive and error.close.reconnect):
                    return 1
            wait = next(waits, None)
            if wait is None:
                self._screen.warn("giving up")
                return 1
            self._screen.status(f"connecting again in {wait:.1f} s; Ctrl-C leaves")
            await asyncio.sleep(wait)

    def _greet(self, client: Client) -> None:
        where = "in a booth, waiting for a stranger" if client.address.private else "in the public room"
        self._screen.status(f"connected to {client.address.shown} as {client.name}, {where}")
        if client.address.private and self._manner.interactive:
            self._screen.status("one may be here already: say hi. Alone, you hear only yourself")
        self._client = client
        self._connected.set()

    def _hear(self, line: str) -> None:
        answers = self._unanswered.heard(line)
        self._screen.heard(line, own=answers)
        if answers:
            self._answered.set()
            for text in self._unanswered.take_refused():
                self._not_said(text, "refused")

    def _part(self, error: Disconnected) -> None:
        self._client = None
        self._screen.warn(str(error))
        self._forget()

    def _forget(self) -> None:
        for text in self._unanswered.forget():
            self._not_said(text, "not confirmed")
        self._answered.set()

    def _not_said(self, text: str, why: str) -> None:
        """A person gets the text back whole, for the terminal no longer shows it."""
        self._lost += 1
        self._screen.warn(f"{why}: {text if self._manner.interactive else shortened(text)}")

    # Speaking

    async def _speak(self) -> int:
        await self._connected.wait()
        try:
            while (typed := await self._input.next()) is not None:
                if self._manner.interactive:
                    self._screen.typed(typed)
                    if not typed.text.strip():
                        continue
                await self._say(typed.text)
            await self._settle(0)
        except TimeoutError:
            self._screen.warn(f"no answer for {self._manner.patience:g} s")
            self._forget()
            return 1
        return self._outcome()

    async def _say(self, text: str) -> None:
        size = len(frame(self._manner.name, text))
        if size > FRAME_LIMIT:
            self._not_said(text, "not sent, too long")
            return
        await self._settle(max(0, WINDOW - size - LINE_OVERHEAD))
        if self._client is None:
            self._not_said(text, "not sent, not connected")
            return
        self._unanswered.said(text, size + LINE_OVERHEAD)
        with suppress(Disconnected):  # the listener meets it too, and tells
            await self._client.say(text)

    async def _settle(self, weight: int) -> None:
        """Wait until at most `weight` bytes are unanswered. Raises `TimeoutError` if no answer comes for too long."""
        while self._unanswered.weight > weight:
            self._answered.clear()
            async with asyncio.timeout(self._manner.patience):
                await self._answered.wait()

    def _outcome(self) -> int:
        if self._manner.interactive:
            return 0 if self._client is not None else 1
        return 1 if self._lost else 0


# The real terminal


def run(
    url: str = DEFAULT_URL,
    *,
    name: str | None = None,
    private: bool = False,
    as_json: bool = False,
    quiet: bool = False,
    colour: bool = True,
) -> int:
    """Chat on this process's own input and output. Gives the exit code; raises what `Chat.hold` does.

    `name` is the login name if None. `colour=False` and a non-empty `NO_COLOR` (no-color.org) turn colours off; only
    terminals have them anyway.
    """
    Address.of(url, private=private)  # a wrong one is told before any input is taken
    manner = _manner(name)
    look = _look(manner, as_json, quiet, colour)
    screen = Screen(sys.stdout, sys.stderr, look, name=manner.name, clock=time.monotonic)

    async def hold() -> int:
        lines = Lines(reader(sys.stdin))
        return await Chat(lambda: Client.connect(url, name=manner.name, private=private), lines, screen, manner).hold()

    return asyncio.run(hold())


def _manner(name: str | None) -> Manner:
    name = login_name() if name is None else name
    try:
        name.encode()
    except UnicodeEncodeError:
        raise SettingsError("--name: not UTF-8; give another name") from None
    interactive = sys.stdin is not None and sys.stdin.isatty()
    return Manner(name=name, interactive=interactive, patience=GOODBYE if interactive else PATIENCE)


def _look(manner: Manner, as_json: bool, quiet: bool, colour: bool) -> Look:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    ansi = os.environ.get("TERM") != "dumb" and (os.name != "nt" or "WT_SESSION" in os.environ)
    colour = colour and ansi and not os.environ.get("NO_COLOR")
    return Look(
        json=as_json,
        quiet=quiet,
        colour=colour and sys.stdout.isatty(),
        colour_status=colour and sys.stderr.isatty(),
        erase=ansi and manner.interactive and sys.stdout.isatty() and not as_json,
        columns=lambda: shutil.get_terminal_size().columns,
    )

"""The terminal chat, line by line: what is typed or piped is said, what is heard is printed.

- `Screen`: what is printed where, and what of a stranger's text a terminal may see.
- `Lines`: what is typed or piped, read by a thread.
- `Chat`: one conversation over these two and a `Client`. `run` gives it the real terminal.
"""

import asyncio
import getpass
import io
import json
import math
import os
import select
import shutil
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import count
from typing import Any, Final, Protocol, TextIO

from parlour.client import DEFAULT_URL, Address, Client, Event, Sender
from parlour.client.session import FRAME_LIMIT, sender_of
from parlour.errors import Close, ConnectError, Disconnected, Refused, SettingsError

WINDOW: Final = 32 * 1024
"""Bytes taken from a pipe and not answered, at most. What is beyond waits where it is."""

LINE_OVERHEAD: Final = 64
"""Bytes counted for each line beside its text."""

PATIENCE: Final = 60.0
"""Seconds without any answer to a line of ours after which a pipe gives up."""

GOODBYE: Final = 5.0
"""The same for a person who pressed Ctrl-D."""

AHEAD: Final = 16
"""Lines read from the input before they can be said."""

KNOWN: Final = 1_000
"""People whose names are remembered, the newest ones."""

UNCLEAR: Final = 0.05
"""Seconds around a print in which one can't tell whether Enter came before or after it."""

FOUND: Final = 10
"""Messages that a search shows."""

REASON_LIMIT: Final = 200
"""Characters of a report's reason that the server takes."""

SHORT: Final = 80
"""Characters of a piped line in a report about it."""

HELP: Final = """\
/next          in a booth: leave it and look for another stranger
/leave         in a booth: leave it
/block [NAME]  never meet this person again: the stranger, or someone in the room
/report WHY    in a booth, also just after it: tell the moderators what the stranger said, and block them
/accept [AGE]  accept the terms, where a server has some, and look for a stranger
/search WORDS  the newest messages of public rooms that hold them all
/who           who is here
/name NEW      go by another name
/me TEXT       say what you do
/quit          leave, like Ctrl-D
//TEXT         say a line that begins with a slash"""


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


def shown_name(sender: Sender | None) -> str:
    """What others are called here: `~` marks a name that anyone can take, for its owner speaks the plain wire."""
    if sender is None:
        return "someone"
    return f"{'~' if sender.plain else ''}{sender.name or 'someone'}"


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
    """What people say to `out`, words about the conversation to `err`."""

    def __init__(self, out: TextIO, err: TextIO, look: Look, *, clock: Callable[[], float]) -> None:
        self._out = out
        self._err = err
        self._look = look
        self._clock = clock
        self._printed_at = -math.inf
        self._broken = False  # something of others was printed since the last line was typed

    def said(self, name: str, text: str, *, own: bool = False) -> None:
        """Somebody said something; `own` if it was said here."""
        if not self._look.json:
            name, text = neutral(f"{name}> "), neutral(text)
            self._print(self._out, f"\x1b[1m{name}\x1b[0m{text}" if self._look.colour and not own else name + text)
            self._broken = self._broken or not own

    def happened(self, fields: Mapping[str, Any]) -> None:
        """An event, as it came from the server: for programs."""
        if self._look.json:
            self._print(self._out, json.dumps(fields))
            self._broken = True

    def typed(self, typed: Typed, *, comes_back: bool = True) -> None:
        """The person pressed Enter: take what was typed off the terminal, if its line comes back.

        Nobody else's line is ever erased: nothing is if something was printed around the time of the Enter, and only
        the last row if something of others was printed since the Enter before, perhaps in the middle of the typing.
        """
        if comes_back and self._look.erase and typed.at > self._printed_at + UNCLEAR:
            height = 1 if self._broken else rows(typed.text, self._look.columns())
            self._out.write(f"\x1b[{height}A\r\x1b[J")
            self._out.flush()
        self._broken = False

    def status(self, words: str) -> None:
        """Something good to know."""
        if not self._look.quiet:
            self._say(words, "2")

    def answer(self, words: str) -> None:
        """What the person asked for."""
        for line in words.splitlines():
            self._say(line, "2")

    def warn(self, words: str) -> None:
        """Something that must be known."""
        self._say(words, "33")

    def _say(self, words: str, style: str) -> None:
        words = neutral(words)
        self._broken = True
        self._print(self._err, f"\x1b[{style}m{words}\x1b[0m" if self._look.colour_status else words)

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
    """How a conversation is held: by a person who types (`interactive`) or by a pipe; `patience` is in seconds. `name`
    is what one would like to be called."""

    name: str
    interactive: bool
    patience: float = PATIENCE


class Chat:
    """One conversation: speaks what is typed, prints what is heard, until the input or the connection ends.

    Invariant: each text is either in `_unsaid`, or was said, or was given back with the reason.
    """

    def __init__(
        self, connect: Callable[[], AbstractAsyncContextManager[Client]], typed: Input, screen: Screen, manner: Manner
    ) -> None:
        self._connect = connect
        self._input = typed
        self._screen = screen
        self._manner = manner
        self._client: Client  # from `hold` on
        self._name = manner.name.strip()  # what the person thinks that others call them
        self._broken: asyncio.Future[None]  # fails with a task, as when the output can't be written; from `hold` on
        self._tasks: set[asyncio.Task[None]] = set()  # what is being said or asked
        self._numbers = count()
        self._unsaid: dict[int, str] = {}  # what has no answer yet, in the order of its typing
        self._weight = 0  # bytes of `_unsaid`
        self._answered = asyncio.Event()
        self._lost = 0  # lines that were not said, as far as is known
        self._moved = asyncio.Event()  # something happened, so one may sit somewhere now
        self._over = False  # the booth of a pipe is over, and so is the conversation
        self._looking = False  # the person knows that a search goes on
        self._returning = False  # between a reconnect and all that was missed
        self._known: dict[str, Sender] = {}  # people met in rooms, by id, the newest last
        self._hidden: set[str] = set()  # ids of people whom one wants to hear no more
        self._last: tuple[str, Sender] | None = None  # the last booth, and who sat there
        self._left: set[str] = set()  # booths that the person left by a command

    async def hold(self) -> int:
        """Talk until it is over. Gives the exit code: 0, or 1 if the connection was lost for good, the server did not
        let one in, or a piped line was not said.

        Raises `ConnectError` if there was no connection at all, `SettingsError` for a URL that can't be one,
        `OSError` if the output can't be written.
        """
        try:
            async with self._connect() as client:
                self._client = client
                if client.room is None and not client.address.private:
                    await client.join("public")
                return await self._talk()
        except (Refused, Disconnected) as error:
            self._screen.warn(str(error))
            return 1

    async def _talk(self) -> int:
        self._broken = asyncio.get_running_loop().create_future()
        listening = asyncio.create_task(self._listen())
        speaking = asyncio.create_task(self._speak())
        ends: set[asyncio.Future[Any]] = {listening, speaking, self._broken}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._broken.done():
                await self._broken
            return await (speaking if speaking.done() else listening)
        finally:
            tasks = [listening, speaking, *self._tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if not self._broken.cancel():
                self._broken.exception()  # it was told already, or something else was
            for number in list(self._unsaid):
                self._not_said(number, "not confirmed")

    # Listening

    async def _listen(self) -> int:
        try:
            async for event in self._client:
                self._hear(event)
                if self._over:
                    return 1
        except ConnectError as error:
            self._screen.warn(f"giving up: {error.reason}")
        except (Disconnected, Refused) as error:
            self._screen.warn(str(error))
        return 1

    def _hear(self, event: Event) -> None:
        self._moved.set()
        if not event.local:
            self._screen.happened(event.fields)
        match event.kind.partition(".")[0]:
            case "message":
                self._hear_message(event)
            case "member":
                self._hear_member(event)
            case "match":
                self._hear_match(event)
            case "client":
                self._hear_client(event)
            case "moderated":
                self._screen.warn(_moderated(event.fields))
            case "room" if event.kind == "room.changed":
                self._screen.status(_changed(event.fields))
            case "notice":
                say = self._screen.warn if event.fields.get("level") == "warning" else self._screen.status
                say(f"notice: {event.text}")
            case "gap" if not self._returning:
                self._screen.warn("some messages may be missing")
        if event.sender is not None:
            self._meet(event.sender)

    def _hear_message(self, event: Event) -> None:
        sender, name = event.sender, shown_name(event.sender)
        if sender is not None and sender.id in self._hidden:
            return
        match event.kind:
            case "message" if event.fields.get("deleted") is not True:
                self._screen.said(name, event.text, own=event.own)
            case "message.edited":
                self._screen.said(name, f"{event.text} (edited)")
            case "message.deleted":
                self._tell_person(f"{name} took a message back")
            case "message.reaction" if event.fields.get("on") is True:
                self._tell_person(f"{name} reacts: {event.fields.get('emoji')}")

    def _hear_member(self, event: Event) -> None:
        sender = event.sender
        if sender is None or self._is_me(sender):
            return
        count = event.fields.get("count")
        match event.kind:
            case "member.joined":
                self._tell_person(f"{shown_name(sender)} came in ({count} here)")
            case "member.left":
                self._tell_person(f"{shown_name(sender)} went out ({count} here)")
            case "member.renamed":
                self._tell_person(f"{shown_name(self._known.get(sender.id))} is {shown_name(sender)} now")

    def _hear_match(self, event: Event) -> None:
        match event.kind:
            case "match.waiting":
                self._look()
            case "match.found":
                self._looking = False
                if (peer := event.sender) is not None:
                    self._last = event.room, peer
                shared = event.fields.get("common")
                share = f"; you share: {', '.join(map(str, shared))}" if isinstance(shared, list) and shared else ""
                self._screen.status(f"you are talking with a stranger; say hi{share}")
            case "match.away":
                self._screen.status("the stranger lost the connection, and may come back")
            case "match.back":
                self._screen.status("the stranger is back")
            case "match.ended":
                self._looking = False
                if event.room not in self._left:
                    self._hear_end(event)

    def _hear_end(self, event: Event) -> None:
        if event.local:
            words = "the booth is over"
        elif event.fields.get("by") == "you":
            words = "you went on from another place"
        else:
            words = "the stranger has left"
        self._screen.warn(f"{words}; /next looks for another" if self._manner.interactive else words)
        self._over = not self._manner.interactive

    def _hear_client(self, event: Event) -> None:
        fields = event.fields
        match event.kind:
            case "client.connected":
                self._greet(fields)
            case "client.lost":
                self._screen.warn(str(Disconnected(Close(fields["code"], fields["reason"]))))
                self._screen.status(f"connecting again in {fields['after_ms'] / 1000:.1f} s; Ctrl-C leaves")
            case "client.retry":
                self._screen.status(f"still not connected: {fields['reason']}")
                self._screen.status(f"connecting again in {fields['after_ms'] / 1000:.1f} s; Ctrl-C leaves")
            case "client.back":
                self._returning = False
                self._screen.status(_back(fields["caught_up"], fields["missed"]))
            case "client.gone":
                self._screen.warn("the room is no more")
                self._over = not self._manner.interactive
            case "client.dropped":
                self._screen.warn("some messages may be missing")
            case "client.refused":
                self._screen.warn(f"refused ({fields['code']}): {fields['message']}")

    def _greet(self, fields: Mapping[str, Any]) -> None:
        client, again = self._client, fields["again"]
        rooms = [entry for entry in fields["rooms"] if entry.get("gone") is not True]
        for entry in rooms:
            for member in entry.get("members") or ():
                if (sender := sender_of(member)) is not None:
                    self._meet(sender)
        self._returning = fields["resumed"]
        if not again:
            where = ", in the public room" if client.room == "public" else ""
            self._screen.status(f"connected to {client.address.shown} as {client.name}{where}")
        elif not self._returning:
            self._screen.status("connected again")
        if client.name != self._name:
            self._screen.status(f"{self._name} is not allowed here, or taken; others call you {client.name}")
            self._name = client.name
        self._looking = False
        if client.searching:
            self._look()
        elif client.address.private and client.required is not None:
            self._ask(client.required)

    def _ask(self, required: Mapping[str, Any]) -> None:
        """The server wants something first."""
        where = f": {required['url']}" if isinstance(required.get("url"), str) else ""
        self._screen.warn(f"before you meet strangers you must accept the terms{where}")
        self._screen.warn(f"{'/accept AGE, in years,' if required.get('asks_age') is True else '/accept'} does that")
        self._over = not self._manner.interactive

    def _look(self) -> None:
        if not self._looking:
            self._screen.status("looking for a stranger ...")
        self._looking = True

    def _meet(self, sender: Sender) -> None:
        self._known.pop(sender.id, None)
        self._known[sender.id] = sender
        if len(self._known) > KNOWN:
            del self._known[next(iter(self._known))]

    def _is_me(self, sender: Sender) -> bool:
        peer = self._client.peer
        return sender.id == self._client.person.id if peer is None else sender.id != peer.id

    def _tell_person(self, words: str) -> None:
        """What nobody reads who pipes."""
        if self._manner.interactive:
            self._screen.status(words)

    # Speaking

    async def _speak(self) -> int:
        try:
            while (typed := await self._input.next()) is not None:
                if not self._manner.interactive:
                    await self._pass_on(typed.text)
                elif not self._enter(typed):
                    break
            await self._settle(0)
        except TimeoutError:
            self._screen.warn(f"no answer for {self._manner.patience:g} s")
            return 1
        if self._manner.interactive:
            return 0 if self._client.connected else 1
        return 1 if self._lost else 0

    async def _pass_on(self, text: str) -> None:
        """A piped line is said as it is, once somebody can hear it."""
        if self._client.room is None:
            self._screen.status("the lines wait until a stranger is there")
        while (room := self._client.room) is None:
            self._moved.clear()
            await self._moved.wait()
        await self._settle(max(0, WINDOW - _weight(text)))
        self._say(text, room)

    def _enter(self, typed: Typed) -> bool:
        """The person pressed Enter. Says whether the conversation goes on."""
        text = typed.text
        if text.startswith("/") and not text.startswith("//"):
            self._screen.typed(typed, comes_back=False)
            return self._command(text)
        self._screen.typed(typed)
        text = text.removeprefix("/") if text.startswith("//") else text
        if not text.strip():
            return True
        room = self._client.room
        if room is None:
            self._screen.warn(f"not said, nobody is here to hear it: {text}")
            return True
        if not self._client.connected:
            self._screen.status(f"to be said once the connection is back: {text}")
        self._say(text, room)
        return True

    def _say(self, text: str, room: str) -> None:
        number = next(self._numbers)
        self._unsaid[number] = text
        self._weight += _weight(text)
        self._start(partial(self._send, number, text, room))

    async def _send(self, number: int, text: str, room: str) -> None:
        try:
            await self._client.send(text, room=room)
        except Refused as error:
            self._not_said(number, f"refused ({error.refusal.code}: {error.refusal.message})")
        except (ConnectError, Disconnected):
            self._not_said(number, "not confirmed")
        except ValueError:
            self._not_said(number, "not sent, too long")
        else:
            self._done_with(number)
        self._answered.set()

    def _not_said(self, number: int, why: str) -> None:
        """A person gets the text back whole, for the terminal no longer shows it."""
        text = self._done_with(number)
        self._lost += 1
        self._screen.warn(f"{why}: {text if self._manner.interactive else shortened(text)}")

    def _done_with(self, number: int) -> str:
        text = self._unsaid.pop(number)
        self._weight -= _weight(text)
        return text

    async def _settle(self, weight: int) -> None:
        """Wait until at most `weight` bytes are unanswered. Raises `TimeoutError` if no answer comes for too long."""
        while self._weight > weight:
            self._answered.clear()
            async with asyncio.timeout(self._manner.patience):
                await self._answered.wait()

    def _start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def watched() -> None:
            try:
                await work()
            except Exception as error:
                if not self._broken.done():
                    self._broken.set_exception(error)

        task = asyncio.create_task(watched())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Commands

    def _command(self, text: str) -> bool:
        """Do what the person asks for. Says whether the conversation goes on."""
        word, _, rest = text[1:].partition(" ")
        rest = rest.strip()
        in_booths = self._client.address.private
        match word.lower():
            case "quit":
                return False
            case "help" | "?":
                self._screen.answer(HELP)
            case "next" if in_booths:
                self._do(word, self._next)
            case "leave" if in_booths:
                self._do(word, self._leave)
            case "next" | "leave":
                self._screen.answer(f"/{word} is for booths: parlour chat --private; /quit leaves")
            case "report" if in_booths and rest:
                self._do(word, partial(self._report, rest))
            case "report" if in_booths:
                self._screen.answer("/report needs a reason, in a few words")
            case "report":
                self._screen.answer("/report is for booths: parlour chat --private; /block hides someone here")
            case "accept":
                self._do(word, partial(self._accept, rest))
            case "search" if rest:
                self._do(word, partial(self._search, rest))
            case "search":
                self._screen.answer("/search needs the words to look for")
            case "block" if in_booths:
                self._do(word, self._block_stranger)
            case "block" if rest:
                self._do(word, partial(self._block, rest))
            case "who":
                self._do(word, self._who)
            case "name" if rest:
                self._do(word, partial(self._rename, rest))
            case "block" | "name":
                self._screen.answer(f"/{word} needs a name")
            case "me" if rest and self._client.room is not None:
                self._say(f"* {self._client.name} {rest}", self._client.room)
            case _:
                self._screen.answer(f"not said: {text}")
                self._screen.answer(
                    "/help lists what can be done; begin with // to say a line that begins with a slash"
                )
        return True

    def _do(self, word: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        async def done() -> None:
            try:
                await work()
            except Refused as error:
                self._screen.answer(f"/{word}: {error.refusal.message}")
            except (ConnectError, Disconnected):
                self._screen.answer(f"/{word}: the connection was lost before the answer")
            except ValueError:
                self._screen.answer(f"/{word}: too long")

        self._start(done)

    @contextmanager
    def _ending(self, booth: str | None) -> Iterator[None]:
        """The person ends the booth, and needs not be told."""
        self._left.add(booth or "")
        try:
            yield
        except BaseException:
            self._left.discard(booth or "")
            raise

    async def _next(self) -> None:
        with self._ending(self._client.booth):
            await self._client.next()
        if self._client.searching:
            self._look()

    async def _leave(self) -> None:
        booth = self._client.booth
        if booth is not None:
            with self._ending(booth):
                await self._client.leave(booth)
            self._screen.answer("you have left; /next looks for a stranger")
        else:
            await self._client.cancel()
            self._looking = False
            self._screen.answer("not looking any more; /next looks for a stranger")

    async def _block_stranger(self) -> None:
        if self._last is None:
            self._screen.answer("/block: there is no stranger yet")
            return
        booth, peer = self._last
        with self._ending(booth):
            await self._client.block(peer.id, room=booth)
        self._screen.answer("blocked: you two never meet again; /next looks for another")

    async def _report(self, reason: str) -> None:
        if self._last is None:
            self._screen.answer("/report: there is no stranger yet")
            return
        booth, _ = self._last
        with self._ending(booth):
            ref = await self._client.report(booth, reason[:REASON_LIMIT], block=True)
        self._screen.answer(f"reported as {ref}, and blocked: you two never meet again; /next looks for another")

    async def _accept(self, age: str) -> None:
        required = self._client.required
        if required is None:
            self._screen.answer("/accept: there is nothing to accept")
        elif age and not (age.isascii() and age.isdecimal()):
            self._screen.answer("/accept: write your age in years, as /accept 30")
        else:
            await self._client.accept(str(required.get("version")), age=int(age) if age else None)
            self._screen.answer("accepted")
            if self._client.address.private:
                await self._client.find()
                self._look()

    async def _search(self, text: str) -> None:
        found = await self._client.search(text, limit=FOUND)
        for message in reversed(found.messages):
            self._screen.answer(neutral(f"{message.room}: {shown_name(message.sender)}> {message.text}"))
        some = f"{len(found.messages)} found" if found.messages else "nothing found"
        self._screen.answer(f"{some}{', and older ones' if found.more else ''}")

    async def _block(self, name: str) -> None:
        found = {person.id: person for person in self._called(name, self._known.values())}
        found |= {person.id: person for person in self._called(name, (await self._client.who()).members)}
        if len(found) != 1:
            words = f"several are called {name}" if found else f"nobody here is called {name}; /who lists them"
            self._screen.answer(f"/block: {words}")
            return
        (person,) = found.values()
        self._hidden.add(person.id)
        await self._client.block(person.id)
        self._screen.answer(f"blocked {shown_name(person)}: you hear them no more, and never meet in a booth")

    def _called(self, name: str, people: Iterable[Sender]) -> Iterator[Sender]:
        for person in people:
            names = shown_name(person).casefold(), (person.name or "").casefold()
            if name.casefold() in names and not self._is_me(person):
                yield person

    async def _who(self) -> None:
        here = await self._client.who()
        names = [f"{shown_name(member)}{' (you)' if self._is_me(member) else ''}" for member in here.members]
        self._screen.answer(f"{here.count} here{': ' if names else ''}{', '.join(names)}")

    async def _rename(self, name: str) -> None:
        self._name = await self._client.rename(name)
        self._screen.answer(f"you are {self._name} now")


def _weight(text: str) -> int:
    return LINE_OVERHEAD + len(text.encode(errors="replace"))


def _moderated(fields: Mapping[str, Any]) -> str:
    """What a moderator did to the person."""
    action, reason, until = (fields.get(name) for name in ("action", "reason", "until"))
    where = f" in {fields['room']}" if "room" in fields else ""
    when = ""
    if isinstance(until, int):
        with suppress(OverflowError, ValueError, OSError):  # years that no calendar has
            when = f" until {datetime.fromtimestamp(until / 1000).astimezone():%Y-%m-%d %H:%M}"
    return f"a moderator: you are {action}{where}{when}{f': {reason}' if reason else ''}"


def _changed(fields: Mapping[str, Any]) -> str:
    """How a room is now."""
    room, slow = fields.get("room"), fields.get("slow_ms")
    if fields.get("archived") is True:
        return f"{room} is closed"
    if fields.get("locked") is True:
        return f"{room} is locked: only moderators speak"
    if isinstance(slow, int) and slow > 0:
        return f"{room} is slow: one message each {slow / 1000:g} seconds"
    return f"{room} is open: {fields.get('title')}" if fields.get("title") else f"{room} is open"


def _back(caught_up: int, missed: bool) -> str:
    if missed:
        return "back: some messages may be missing"
    if not caught_up:
        return "back: nothing missed"
    return f"back: {caught_up} message{'' if caught_up == 1 else 's'} caught up, none missed"


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

    `name` is the login name if None, or, where that can't be had, one that the server gives. `colour=False` and a
    non-empty `NO_COLOR` (no-color.org) turn colours off; only terminals have them anyway.
    """
    Address.of(url, private=private)  # a wrong one is told before any input is taken
    manner = _manner(name)
    screen = Screen(sys.stdout, sys.stderr, _look(manner, as_json, quiet, colour), clock=time.monotonic)

    def connect() -> AbstractAsyncContextManager[Client]:
        return Client.connect(
            url, name=manner.name, insist=name is not None, private=private, program={"name": "parlour chat"}
        )

    async def hold() -> int:
        return await Chat(connect, Lines(reader(sys.stdin)), screen, manner).hold()

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

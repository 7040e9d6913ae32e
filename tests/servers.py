"""Real server processes for tests, and a pair of clients that must not notice what a test does to others."""

import asyncio
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from threading import Condition, Thread
from typing import IO, Final

from tests.raw import DEADLINE, Client, Response, connect, get

ROOT: Final = Path(__file__).parent.parent
SOURCE: Final = ROOT / "src"

_ADDRESS = re.compile(r"(https?)://(?:127\.0\.0\.1:(\d+)|\w)")


class Server:
    """A running server. `url` is where it listens; everything it prints is kept in `log`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.url = ""  # `running` sets it
        self._lines: list[str] = []
        self._changed = Condition()
        self._open_streams = 2
        assert process.stdout is not None
        assert process.stderr is not None
        self._readers = [Thread(target=self._read, args=(stream,)) for stream in (process.stdout, process.stderr)]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        """What it has printed so far, on both streams."""
        with self._changed:
            return "".join(self._lines)

    def printed(self, pattern: str | re.Pattern[str]) -> re.Match[str]:
        """Wait until it has printed a line in which the pattern is found."""
        expression, at, until = re.compile(pattern), 0, time.monotonic() + DEADLINE
        with self._changed:
            while True:
                for text in self._lines[at:]:
                    found = expression.search(text)
                    if found is not None:
                        return found
                at = len(self._lines)
                if not self._open_streams or not self._changed.wait(until - time.monotonic()):
                    raise AssertionError(f"the server did not print {pattern!r}, but:\n{''.join(self._lines)}")

    def port(self) -> int:
        """The port on which it or a child of its listens, for a server that does not tell (Linux)."""
        until = time.monotonic() + DEADLINE
        while time.monotonic() < until:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            for pid in (str(self.pid), *children):
                ports = _listening(pid)
                if ports:
                    return ports.pop()
            time.sleep(0.02)  # nothing tells when
        raise AssertionError(f"nothing listens:\n{self.log}")

    def memory(self) -> int:
        """The most bytes of memory that it has ever held (VmHWM; Linux)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def exited(self, within: float = DEADLINE) -> int:
        """Wait until it has exited; the exit code, negative for a signal."""
        code = self.process.wait(within)
        for reader in self._readers:
            reader.join(DEADLINE)
        return code

    def stop(self) -> None:
        """Stop it, whatever state it is in."""
        if self.process.poll() is None:
            self.signal()
            try:
                self.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.exited()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for text in stream:
                with self._changed:
                    self._lines.append(text)
                    self._changed.notify_all()
        with self._changed:
            self._open_streams -= 1
            self._changed.notify_all()


def _listening(pid: str) -> set[int]:
    """The TCP ports that a process listens on."""
    files = [os.path.realpath(file) for file in Path(f"/proc/{pid}/fd").iterdir()]
    sockets = {found[1] for found in (re.search(r"socket:\[(\d+)\]", file) for file in files) if found}
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].partition(":")[2], 16) for row in rows if row[3] == "0A" and row[9] in sockets}


@contextmanager
def running(
    *command: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    path: tuple[Path, ...] = (),
) -> Iterator[Server]:
    """A server process with a data folder of its own, once it has printed its address; stopped at the end.

    `path` goes before the usual folders of PYTHONPATH.
    """
    with tempfile.TemporaryDirectory(prefix="parlour-") as data:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=cwd or data,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(str(folder) for folder in (*path, SOURCE, ROOT)),
                "PYTHONUNBUFFERED": "1",
                "PARLOUR_DATA": data,
                **(env or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
        )
        server = Server(process)
        try:
            scheme, port = server.printed(_ADDRESS).groups()
            if int(port or 0):
                server.url = f"{scheme}://127.0.0.1:{port}"
            else:  # it prints its public address, or the 0 that it was given
                server.url = f"http://127.0.0.1:{server.port()}"
            yield server
        finally:
            server.stop()


@contextmanager
def serving(*flags: str, before: str = "") -> Iterator[Server]:
    """`parlour serve` with these flags. `before` is Python that runs first, to shorten what can't be set."""
    script = f"import sys; from parlour.cli import main\n{before}\nsys.exit(main(sys.argv[1:]))"
    with running("-c", script, "serve", "--port", "0", *flags) as server:
        yield server


@contextmanager
def uvicorn(
    *flags: str,
    app: str = "server:app",
    settings: Mapping[str, str] | None = None,
    path: tuple[Path, ...] = (),
) -> Iterator[Server]:
    """`uvicorn server:app` from the folder of the source, or another app; `settings` without their prefix."""
    env = {f"PARLOUR_{name.upper()}": value for name, value in (settings or {}).items()}
    with running("-m", "uvicorn", app, "--port", "0", *flags, cwd=SOURCE, env=env, path=path) as server:
        yield server


@contextmanager
def alarm(seconds: float = 2 * DEADLINE) -> Iterator[None]:
    """A deadline for what can't have one of its own: `TimeoutError` is raised from whatever blocks then."""

    def ring(number: int, frame: object) -> None:
        raise TimeoutError(f"still not done after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 5.0)  # again and again: what cleans up may block as well
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


async def until(condition: Callable[[], Awaitable[bool]], what: str, within: float = DEADLINE) -> None:
    """Wait until the condition holds; `what` says what was waited for."""
    try:
        async with asyncio.timeout(within):
            while not await condition():  # noqa: ASYNC110
                await asyncio.sleep(0.02)  # another process can't set an event of ours
    except TimeoutError:
        raise AssertionError(f"waited {within:g} s in vain: {what}") from None


async def people(url: str, path: str = "") -> int:
    """How many connections the server says it has."""
    about = await get(url, f"{path}/about.json")
    found = re.search(r'"people":\s*(\d+)', about.text)
    assert found is not None, about.text
    return int(found[1])


async def until_people(url: str, count: int, within: float = DEADLINE) -> None:
    """Wait until the server says that so many are connected."""

    async def are_there() -> bool:
        return await people(url) == count

    await until(are_there, f"{count} connections", within)


@asynccontextmanager
async def crowd(
    url: str, count: int, path: str = "/chat/public", *, receive_buffer: int | None = None
) -> AsyncIterator[list[Client]]:
    """Many clients at once, connected in the order of the list."""
    async with AsyncExitStack() as stack:
        opening = (connect(url, path, receive_buffer=receive_buffer) for _ in range(count))
        yield [await stack.enter_async_context(one) for one in opening]


async def pour(speaker: Client, lines: int) -> None:
    """Say lines of 10,000 characters, one after the other."""
    text = "x" * 10_000
    for _ in range(lines):
        await speaker.say("ada", text)
        assert await speaker.line() == f"ada> {text}"


async def fill(deaf: Client, speaker: Client) -> int:
    """The speaker, in the same room, pours until the kernel of one who does not read takes no more, and then 120,000
    characters on top (uvicorn's own flow control begins at 64 KiB). The answer is the number of lines."""
    backlog, full_at, lines = -1, 0, 0
    while lines - full_at < 12:
        await pour(speaker, 12)
        lines += 12
        if (now := _kernel_backlog(deaf)) > backlog:  # slow to ask
            backlog, full_at = now, lines
    return lines


def _kernel_backlog(client: Client) -> int:
    """Bytes that the server's kernel holds for this client, because the client's own has not taken them (Linux)."""
    here, there = (client.writer.get_extra_info(name)[1] for name in ("sockname", "peername"))
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = row.split()
        if (int(local.partition(":")[2], 16), int(remote.partition(":")[2], 16)) == (there, here):
            return int(queues.partition(":")[0], 16)
    raise AssertionError("the server has no such connection")


class Canary:
    """What two healthy clients went through: how long each of their lines took, in seconds."""

    def __init__(self) -> None:
        self.times: list[float] = []

    @property
    def p99(self) -> float:
        """The time that 99 of 100 lines stay below."""
        return statistics.quantiles(self.times, n=100)[98] if len(self.times) > 1 else 0.0


@asynccontextmanager
async def canary(url: str, path: str = "/chat/private", *, every: float = 0.02) -> AsyncIterator[Canary]:
    """Two clients talk with each other while the block runs, `every` seconds one line each.

    At the end nothing may be lost: each line came to both, in order, within `DEADLINE`. Nobody else may sit alone in a
    booth when it begins.
    """
    record = Canary()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def hear(listener: Client, expected: str) -> None:
        got = await listener.line()
        assert got == expected, f"the canary heard {got!r} instead of {expected!r}"

    async def talk(pair: tuple[Client, Client]) -> None:
        number = 0
        while not stopped.is_set() or not number:
            for name, speaker in zip(("cy", "di"), pair, strict=True):
                number += 1
                begun = loop.time()
                await speaker.say(name, f"line {number}")
                for listener in pair:
                    await hear(listener, f"{name}> line {number}")
                record.times.append(loop.time() - begun)
            try:
                async with asyncio.timeout(every):
                    await stopped.wait()
            except TimeoutError:
                pass

    async with connect(url, path) as cy, connect(url, path) as di:
        talking = asyncio.create_task(talk((cy, di)))
        try:
            yield record
        finally:
            stopped.set()
            await talking
    print(f"canary: {len(record.times)} lines, p99 {1000 * record.p99:.0f} ms")


__all__ = [
    "Canary",
    "Response",
    "Server",
    "alarm",
    "canary",
    "crowd",
    "fill",
    "people",
    "pour",
    "running",
    "serving",
    "until",
    "until_people",
    "uvicorn",
]

"""`parlour chat` as a person or a script runs it: its own process, with pipes, files and pseudo-terminals."""

import asyncio
import json
import os
import re
import signal
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import parlour
from tests.client.plain_server import PlainServer

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline")]

SOURCE = Path(next(iter(parlour.__path__))).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE), "LOGNAME": "ada", "TERM": "xterm", "PYTHONWARNINGS": "error"}


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A run in the background (`pytest &`) ignores SIGINT, and its children would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@asynccontextmanager
async def running(
    *arguments: str, shell: str = "", **environment: str
) -> AsyncIterator[tuple[Process, StreamWriter, StreamReader, StreamReader]]:
    """`parlour chat` with these arguments, its input, output and words; `shell` stands behind the command."""
    command = [sys.executable, "-m", "parlour", "chat", *arguments]
    if shell:
        command = ["/bin/sh", "-c", f'"$@" {shell}', "sh", *command]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env={**ENVIRONMENT, **environment}
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        yield process, process.stdin, process.stdout, process.stderr
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate(b"")


async def chat(*arguments: str, said: str = "", shell: str = "", **environment: str) -> tuple[int, str, str]:
    """Run it to its end. Gives the exit code, the output, and the words on stderr."""
    async with running(*arguments, shell=shell, **environment) as (process, *_):
        out, err = await process.communicate(said.encode())
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


async def test_a_piped_line_is_said_and_heard(server: PlainServer) -> None:
    """`echo hi | parlour chat`: under the login name, and without a colour."""
    code, out, err = await chat(server.url, said="hi\n")
    assert (code, out) == (0, "ada> hi\n")
    assert err == f"connected to {server.url} as ada, in the public room\n"


async def test_a_booth(server: PlainServer) -> None:
    code, out, err = await chat(server.url, "--private", "--name", "bo", said="hi")
    assert (code, out) == (0, "bo> hi\n")
    assert "in a booth, waiting for a stranger" in err
    assert server.paths == ["/chat/private"]


async def test_a_file_is_said_line_by_line(server: PlainServer, tmp_path: Path) -> None:
    lines = [f"line {number} ☕" for number in range(500)]
    file = tmp_path / "lines"
    file.write_text("\n".join(lines), encoding="utf-8")
    code, out, _ = await chat(server.url, shell=f"<{file}")
    assert code == 0
    assert out.splitlines() == [f"ada> {text}" for text in lines]


@pytest.mark.parametrize("shell", ["", "</dev/null", "<&-"])
async def test_no_input_is_nothing_to_say(server: PlainServer, shell: str) -> None:
    """An empty input and a closed one."""
    code, out, err = await chat(server.url, shell=shell)
    assert (code, out) == (0, "")
    assert "connected" in err


async def test_json_and_quiet(server: PlainServer) -> None:
    code, out, err = await chat(server.url, "--json", "-q", said="☕\n\x1b[2J\n")
    assert (code, err) == (0, "")
    assert [json.loads(text) for text in out.splitlines()] == [{"line": "ada> ☕"}, {"line": "ada>  [2J"}]


async def test_a_strangers_escapes_are_shown_not_obeyed(server: PlainServer) -> None:
    async with running(server.url) as (process, stdin, out, _):
        await server.wait_members(1)
        server.tell("bo> \x1b]0;owned\x07\u202e")
        assert (await out.readline()).decode() == "bo> ␛]0;owned␇\ufffd\n"
        stdin.close()
        assert await process.wait() == 0


async def test_a_refused_line_is_a_failure(server: PlainServer) -> None:
    code, out, err = await chat(server.url, "-q", said="/refuse\n")
    assert (code, out, err) == (1, "! bad_field: this is refused\n", "refused: /refuse\n")


async def test_no_connection(server: PlainServer) -> None:
    code, out, err = await chat(f"{server.url}/chat/rooms/x?/status/429", said="hi\n")
    assert (code, out) == (3, "")
    assert err.startswith(f"parlour: error: cannot connect to {server.url}: the server refused (429)")
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [("ftp://a.example",), ("--name", "\udcff"), ("--privat",), ("a", "b")])
async def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    code, out, err = await chat(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("parlour: error: ")
    assert err.count("\n") == 1


async def test_a_lost_connection_ends_a_pipe_that_is_still_open(server: PlainServer) -> None:
    """The thread that waits for input does not keep the process."""
    async with running(server.url) as (process, stdin, _, err):
        stdin.write(b"/close 4000\n")
        words = (await err.read()).decode()
        assert await process.wait() == 1
        assert words.splitlines()[1:] == ["disconnected with 4000: as asked", "not confirmed: /close 4000"]


@pytest.mark.usefixtures("interruptible")
async def test_ctrl_c(server: PlainServer) -> None:
    """130, at once, without a traceback, and the server hears the goodbye."""
    async with running(server.url) as (process, _, _, err):
        assert b"connected" in await err.readline()
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
        assert await err.read() == b""
        await server.wait_members(0)


async def test_a_reader_that_has_gone_is_no_accident(server: PlainServer) -> None:
    """`parlour chat | head -1`"""
    async with running(server.url, shell="| head -n 1") as (_, stdin, out, err):
        stdin.write(b"a\n" * 100)
        assert await out.read() == b"ada> a\n"
        words = await err.read()
        assert b"Traceback" not in words
        assert b"Exception" not in words


# With a terminal


class Terminal:
    """A pseudo-terminal with `parlour chat` at it."""

    def __init__(self, process: Process, master: int) -> None:
        self.process = process
        self._master = master
        self._output = ""
        self._more = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(cls, *arguments: str, **environment: str) -> AsyncIterator["Terminal"]:
        master, slave = os.openpty()
        command = [sys.executable, "-m", "parlour", "chat", *arguments]
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=slave, stdout=slave, stderr=slave, env={**ENVIRONMENT, **environment}
            )
        finally:
            os.close(slave)
        self = cls(process, master)
        loop = asyncio.get_running_loop()
        loop.add_reader(master, self._read)
        try:
            yield self
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            self.hang_up()

    @property
    def shown(self) -> str:
        """Everything shown so far, with its control sequences."""
        return self._output

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    async def wait_for(self, pattern: str) -> None:
        """Until what is shown matches."""
        while not re.search(pattern, self._output):
            self._more.clear()
            await self._more.wait()

    def hang_up(self) -> None:
        """Close the terminal under the process. Hanging up twice equals hanging up once."""
        if self._master >= 0:
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._master)
            self._master = -1

    def _read(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says so when the other side is closed
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._master)
        self._output += data.decode(errors="replace")
        self._more.set()


async def test_two_terminals_talk(server: PlainServer) -> None:
    """Each sees both lines, and Ctrl-D leaves."""
    async with Terminal.open(server.url, "--name", "ada") as ada, Terminal.open(server.url, "--name", "bo") as bo:
        await ada.wait_for("connected to")
        await bo.wait_for("connected to")
        await server.wait_members(2)
        ada.type("tea?\n")
        await bo.wait_for(r"ada> .*tea\?")
        await ada.wait_for(r"ada> tea\?")
        bo.type("yes\n")
        await ada.wait_for("bo> .*yes")
        await bo.wait_for("bo> yes")
        for terminal in (ada, bo):
            terminal.type("\x04")
            assert await terminal.process.wait() == 0
    assert [said["message"] for said in server.said] == ["tea?", "yes"]


async def test_colours_are_for_terminals_that_want_them(server: PlainServer) -> None:
    """NO_COLOR, --no-color and a dumb terminal have none."""
    plain: list[tuple[tuple[str, ...], dict[str, str]]] = [
        ((), {"NO_COLOR": "1"}),
        (("--no-color",), {}),
        ((), {"TERM": "dumb"}),
    ]
    for arguments, environment in plain:
        async with Terminal.open(server.url, *arguments, **environment) as terminal:
            await terminal.wait_for("connected to")
            server.tell("bo> hi")
            await terminal.wait_for("bo> hi")
            assert "\x1b" not in terminal.shown
    async with Terminal.open(server.url, NO_COLOR="") as terminal:
        await terminal.wait_for("connected to")
        server.tell("bo> hi")
        await terminal.wait_for("\x1b\\[1mbo> \x1b\\[0mhi")


@pytest.mark.usefixtures("interruptible")
async def test_ctrl_c_at_a_terminal(server: PlainServer) -> None:
    async with Terminal.open(server.url) as terminal:
        await terminal.wait_for("connected to")
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.process.wait() == 130
        assert "Traceback" not in terminal.shown


async def test_a_kick_ends_it(server: PlainServer) -> None:
    async with Terminal.open(server.url) as terminal:
        await terminal.wait_for("connected to")
        terminal.type("/close 4506\n")
        await terminal.wait_for("disconnected with 4506: as asked")
        assert await terminal.process.wait() == 1


async def test_a_terminal_that_hangs_up_ends_it(server: PlainServer) -> None:
    """Its input and output fail; the process must not stay behind."""
    async with Terminal.open(server.url) as terminal:
        await terminal.wait_for("connected to")
        terminal.hang_up()
        await terminal.process.wait()
        await server.wait_members(0)

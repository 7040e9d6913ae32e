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
from tests.client.v1_server import V1Server

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


async def test_a_piped_line_is_said_and_heard(server: V1Server) -> None:
    """`echo hi | parlour chat`: under the login name, and without a colour."""
    code, out, err = await chat(server.url, said="hi\n")
    assert (code, out) == (0, "ada> hi\n")
    assert err == f"connected to {server.url} as ada, in the public room\n"


async def test_a_booth(server: V1Server) -> None:
    """Two pipes, of which one waits for the other."""
    async with running(server.url, "--private") as (process, stdin, out, err):
        assert await err.readline() == f"connected to {server.url} as ada\n".encode()
        assert await err.readline() == b"looking for a stranger ...\n"
        stdin.write(b"tea?\n")
        assert await err.readline() == b"the lines wait until a stranger is there\n"
        async with running(server.url, "--private", "--name", "bo", "-q") as (_, other, heard, _):
            assert await out.readline() == b"ada> tea?\n"
            assert await heard.readline() == b"ada> tea?\n"
            other.write(b"yes\n")
            assert await out.readline() == b"bo> yes\n"
            stdin.close()
            assert await process.wait() == 0
            assert await heard.readline() == b"bo> yes\n"
    assert server.paths == ["/chat/private"] * 2


async def test_a_file_is_said_line_by_line(server: V1Server, tmp_path: Path) -> None:
    lines = [f"line {number} ☕" for number in range(500)]
    file = tmp_path / "lines"
    file.write_text("\n".join(lines), encoding="utf-8")
    code, out, _ = await chat(server.url, shell=f"<{file}")
    assert code == 0
    assert out.splitlines() == [f"ada> {text}" for text in lines]


@pytest.mark.parametrize("shell", ["", "</dev/null", "<&-"])
async def test_no_input_is_nothing_to_say(server: V1Server, shell: str) -> None:
    """An empty input and a closed one."""
    code, out, err = await chat(server.url, shell=shell)
    assert (code, out) == (0, "")
    assert "connected" in err


async def test_json_and_quiet(server: V1Server) -> None:
    code, out, err = await chat(server.url, "--json", "-q", said="☕\n\x1b[2J\n")
    assert (code, err) == (0, "")
    assert [json.loads(text) for text in out.splitlines()] == server.rooms["public"].events


async def test_a_strangers_escapes_are_shown_not_obeyed(server: V1Server) -> None:
    async with running(server.url) as (process, stdin, out, _):
        await server.wait_people(1)
        server.say("\x1b]0;owned\x07\u202e\ncy> hi", "b\x1b[1mo")
        assert (await out.readline()).decode() == "b␛[1mo> ␛]0;owned␇\ufffd␊cy> hi\n"
        stdin.close()
        assert await process.wait() == 0


async def test_a_refused_line_is_a_failure(server: V1Server) -> None:
    code, out, err = await chat(server.url, "-q", said="!refuse\n")
    assert (code, out, err) == (1, "", "refused (too_large: too_large it is): !refuse\n")


async def test_a_login_name_is_only_a_wish(server: V1Server) -> None:
    """Unlike a name that was asked for."""
    server.refusals = [{"code": "bad_name"}]
    code, out, err = await chat(server.url, said="hi\n")
    assert (code, out) == (0, "Quiet Otter> hi\n")
    assert err.endswith("ada is not allowed here, or taken; others call you Quiet Otter\n")
    server.refusals = [{"code": "bad_name"}]
    code, out, err = await chat(server.url, "--name", "ada", said="hi\n")
    assert (code, out, err) == (1, "", "refused (bad_name): bad_name it is\n")


async def test_no_connection(server: V1Server) -> None:
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


async def test_an_older_server(deadline: None) -> None:
    async with V1Server.open(subprotocol=False) as server:
        code, out, err = await chat(server.url, said="hi\n")
    assert (code, out) == (3, "")
    assert err.endswith("this server speaks no v1; it is older than this client\n")


async def test_the_end_for_good_ends_a_pipe_that_is_still_open(server: V1Server) -> None:
    """The thread that waits for input does not keep the process."""
    async with running(server.url) as (process, stdin, _, err):
        stdin.write(b"!close 4506\n")
        words = (await err.read()).decode()
        assert await process.wait() == 1
        assert words.splitlines()[1:] == ["disconnected with 4506: as asked", "not confirmed: !close 4506"]


@pytest.mark.usefixtures("interruptible")
async def test_ctrl_c(server: V1Server) -> None:
    """130, at once, without a traceback, and the server hears the goodbye."""
    async with running(server.url) as (process, _, _, err):
        assert b"connected" in await err.readline()
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
        assert await err.read() == b""
        await server.wait_people(0)


async def test_a_reader_that_has_gone_is_no_accident(server: V1Server) -> None:
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


async def test_two_terminals_talk(server: V1Server) -> None:
    """Each sees both lines, and Ctrl-D leaves."""
    async with Terminal.open(server.url, "--name", "ada") as ada, Terminal.open(server.url, "--name", "bo") as bo:
        await ada.wait_for("connected to")
        await bo.wait_for("connected to")
        await server.wait_people(2)
        ada.type("tea?\n")
        await bo.wait_for(r"ada> .*tea\?")
        await ada.wait_for(r"ada> tea\?")
        bo.type("yes\n")
        await ada.wait_for("bo> .*yes")
        await bo.wait_for("bo> yes")
        bo.type("/who\n")
        await bo.wait_for(r"2 here: .*bo \(you\)")
        for terminal in (ada, bo):
            terminal.type("\x04")
            assert await terminal.process.wait() == 0
    assert server.said == ["tea?", "yes"]


async def test_a_terminal_in_a_booth(server: V1Server) -> None:
    async with Terminal.open(server.url, "--private") as ada:
        await ada.wait_for("looking for a stranger")
        async with Terminal.open(server.url, "--private", "--name", "bo") as bo:
            await bo.wait_for("you are talking with a stranger; say hi")
            bo.type("hi\n")
            await ada.wait_for("bo> .*hi")
            server.drop()
            await ada.wait_for("back: nothing missed")
            await bo.wait_for("back: nothing missed")
            ada.type("still there?\n")
            await bo.wait_for(r"ada> .*still there\?")
            bo.type("/quit\n")
            assert await bo.process.wait() == 0
        await ada.wait_for("the stranger has left; /next looks for another")


async def test_colours_are_for_terminals_that_want_them(server: V1Server) -> None:
    """NO_COLOR, --no-color and a dumb terminal have none."""
    plain: list[tuple[tuple[str, ...], dict[str, str]]] = [
        ((), {"NO_COLOR": "1"}),
        (("--no-color",), {}),
        ((), {"TERM": "dumb"}),
    ]
    for arguments, environment in plain:
        async with Terminal.open(server.url, *arguments, **environment) as terminal:
            await terminal.wait_for("connected to")
            server.say("hi")
            await terminal.wait_for("bo> hi")
            assert "\x1b" not in terminal.shown
    async with Terminal.open(server.url, NO_COLOR="") as terminal:
        await terminal.wait_for("connected to")
        server.say("hi")
        await terminal.wait_for("\x1b\\[1mbo> \x1b\\[0mhi")


@pytest.mark.usefixtures("interruptible")
async def test_ctrl_c_at_a_terminal(server: V1Server) -> None:
    async with Terminal.open(server.url) as terminal:
        await terminal.wait_for("connected to")
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.process.wait() == 130
        assert "Traceback" not in terminal.shown


@pytest.mark.usefixtures("interruptible")
async def test_ctrl_c_in_a_booth_leaves_it(server: V1Server) -> None:
    """The stranger need not wait for a return."""
    async with Terminal.open(server.url, "--private") as ada, Terminal.open(server.url, "--private") as bo:
        await ada.wait_for("you are talking")
        await bo.wait_for("you are talking")
        ada.process.send_signal(signal.SIGINT)
        assert await ada.process.wait() == 130
        await bo.wait_for("the stranger has left")


@pytest.mark.usefixtures("interruptible")
async def test_ctrl_c_while_away(server: V1Server) -> None:
    """What was typed is given back."""
    async with Terminal.open(server.url) as terminal:
        await terminal.wait_for("connected to")
        server.gate.clear()
        server.drop()
        await terminal.wait_for("connecting again")
        terminal.type("tea?\n")
        await terminal.wait_for("to be said")
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.process.wait() == 130
        await terminal.wait_for(r"not confirmed: tea\?")
        assert "Traceback" not in terminal.shown


async def test_a_kick_ends_it(server: V1Server) -> None:
    async with Terminal.open(server.url) as terminal:
        await terminal.wait_for("connected to")
        terminal.type("!close 4506\n")
        await terminal.wait_for("disconnected with 4506: as asked")
        assert await terminal.process.wait() == 1


async def test_a_terminal_that_hangs_up_ends_it(server: V1Server) -> None:
    """Its input and output fail; the process must not stay behind."""
    async with Terminal.open(server.url) as terminal:
        await terminal.wait_for("connected to")
        terminal.hang_up()
        await terminal.process.wait()
        await server.wait_people(0)

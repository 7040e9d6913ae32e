"""`parlour chat` against `parlour serve`: two processes, as people run them."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import parlour
from parlour.client import Client
from parlour.errors import ConnectError, Disconnected

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline")]

SOURCE = Path(next(iter(parlour.__path__))).parent


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[Process]:
    """`parlour` with these arguments, ended at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "parlour", *arguments),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "LOGNAME": "ada"},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate(b"")


@asynccontextmanager
async def serving(folder: Path, *flags: str) -> AsyncIterator[tuple[str, Process]]:
    """The real server; its URL is the first thing that it prints."""
    async with running("serve", "--port", "0", "--data", str(folder), *flags) as process:
        assert process.stdout is not None
        first = (await process.stdout.readline()).decode()
        url = re.search(r"http://127\.0\.0\.1:\d+", first)
        assert url is not None, first
        yield url[0], process


@pytest.fixture
async def url(deadline: None, tmp_path: Path) -> AsyncIterator[str]:
    async with serving(tmp_path) as (address, _):
        yield address


async def chat(url: str, *flags: str, said: str) -> tuple[int | None, str, str]:
    """One piped conversation: its exit code, output and words."""
    async with running("chat", url, *flags) as process:
        out, err = await process.communicate(said.encode())
        return process.returncode, out.decode(), err.decode()


async def test_a_piped_line_comes_back(url: str) -> None:
    assert await chat(url, "-q", said="hi\n") == (0, "ada> hi\n", "")


async def test_what_the_wire_changes_is_still_known(url: str) -> None:
    """Line breaks of all kinds and control characters become spaces, and the name is trimmed."""
    said = "a\rb\x0bc\u2028d\x85e\x1bf\tg\r\n☕\n"
    assert await chat(url, "-q", "--name", " bo ", said=said) == (0, "bo> a b c d e f\tg\nbo> ☕\n", "")


async def test_two_people_in_the_public_room(url: str) -> None:
    async with Client.connect(url, name="bo") as bo:
        heard = aiter(bo)
        assert (await chat(url, said="tea?\n"))[0] == 0
        assert await anext(heard) == "ada> tea?"


async def test_two_strangers_in_a_booth(url: str) -> None:
    """They hear each other, and the public room hears neither."""
    async with Client.connect(url, name="cy") as cy, Client.connect(url, name="bo", private=True) as bo:
        heard = aiter(bo)
        code, out, _ = await chat(url, "--private", said="psst\n")
        assert (code, out) == (0, "ada> psst\n")
        assert await anext(heard) == "ada> psst"
        await cy.say("alone here?")
        assert await anext(aiter(cy)) == "cy> alone here?"


@pytest.mark.parametrize(
    ("flags", "said", "code"),
    [
        (["--name", "a> b"], "hi\n", "bad_name"),
        (["--name", ""], "hi\n", "bad_name"),
        ([], "x" * 10_001 + "\n", "too_large"),
        ([], "\0\n", "bad_field"),
    ],
)
async def test_a_refusal_is_shown_and_fails(url: str, flags: list[str], said: str, code: str) -> None:
    status, out, err = await chat(url, "-q", *flags, said=said)
    assert status == 1
    assert re.fullmatch(f"! {code}: .+\n", out)
    assert err.startswith("refused: ")


async def test_a_refusal_among_other_lines(url: str) -> None:
    lines = ["a", "x" * 10_001, "b"]
    status, out, err = await chat(url, "-q", said="\n".join(lines))
    assert status == 1
    assert sorted(line.partition(":")[0] for line in out.splitlines()) == ["! too_large", "ada> a", "ada> b"]
    assert err == f"refused: {'x' * 80}...\n"


async def test_too_many_refusals_end_it(url: str) -> None:
    status, _, err = await chat(url, "--name", "a> b", said="hi\n" * 20)
    assert status == 1
    assert "disconnected with 4510" in err


async def test_lines_over_the_rate_all_come_back(deadline: None, tmp_path: Path) -> None:
    """The server holds them and says them at its rate; the pipe waits. More bytes than it holds, too."""
    lines = [f"line {number} {'x' * 2000}" for number in range(120)]
    async with serving(tmp_path, "--rate", "400", "--burst", "1") as (url, _):
        status, out, err = await chat(url, "-q", said="\n".join(lines))
    assert (status, err) == (0, "")
    assert out.splitlines() == [f"ada> {text}" for text in lines]


async def test_notices_do_not_disturb(deadline: None, tmp_path: Path) -> None:
    async with serving(tmp_path, "--notices", "on") as (url, _), Client.connect(url, name="bo") as bo:
        assert (await chat(url, "-q", said="hi\n"))[0] == 0
        heard = aiter(bo)
        assert [(await anext(heard)).partition(":")[0] for _ in range(3)] == ["! joined", "ada> hi", "! left"]


async def test_a_server_that_stops_says_so(deadline: None, tmp_path: Path) -> None:
    async with serving(tmp_path) as (url, server), running("chat", url) as process:
        assert process.stderr is not None
        assert b"connected" in await process.stderr.readline()
        server.terminate()
        assert b"disconnected with 4000" in await process.stderr.readline()
        assert await process.wait() == 1


async def test_too_many_connections_are_explained(deadline: None, tmp_path: Path) -> None:
    async with serving(tmp_path, "--per-address", "1") as (url, _), Client.connect(url, name="bo"):
        status, _, err = await chat(url, said="hi\n")
        assert status == 3
        assert "429" in err


async def test_what_is_not_served_is_explained(deadline: None, tmp_path: Path) -> None:
    """No booths here, and no chat at that path."""
    async with serving(tmp_path, "--booths", "off") as (url, _):
        for wrong in (Client.connect(url, name="ada", private=True), Client.connect(f"{url}/sub", name="ada")):
            with pytest.raises((ConnectError, Disconnected)):
                async with wrong as client:
                    await anext(aiter(client))

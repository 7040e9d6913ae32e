"""Walks through a document: what an operator types there is typed, and what they should see must be seen.

A block of the language `console` has lines behind `$ `, which a shell runs, and below each what it prints, on both
streams. `<name>` stands for what is different each time: what is there at its first place is meant at all others, in
what is typed too; but `<when>` is any time. There may be more blanks than in the document. A block whose first line is
`# name` is a file. A comment such as `<!-- a report comes in -->` is a scene: something that others do.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from parlour.client import Client
from tests.raw import DEADLINE
from tests.servers import SOURCE, serving
from tests.store import postgres
from tests.support import require

_STEP: Final = re.compile(r"^```(\w*)\n(.*?)^```$|^<!-- (.*?) -->$", re.MULTILINE | re.DOTALL)
_NAMED: Final = re.compile(r"# ([\w.-]+)\n")
_PLACEHOLDER: Final = re.compile(r"<(\w+)>")
_WHEN: Final = r"\d{4}-\d\d-\d\d \d\d:\d\d"
_DATABASE: Final = "postgresql://parlour@localhost/parlour"
"""What the documents call the address of a database."""


class Walk:
    """A walk, in a folder of its own, beside a server that runs unless a scene stops it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._data = folder / "data"
        self._known: dict[str, str] = {}  # what stands for which placeholder
        self._server = ExitStack()
        stack.enter_context(self._server)
        self._url = ""
        self._database = _DATABASE
        programs = folder / "programs"
        programs.mkdir()
        program = programs / "parlour"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m parlour "$@"\n')
        program.chmod(0o755)
        self._environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(SOURCE),
            "PARLOUR_DATA": str(self._data),
        }
        (folder / "bo.password").write_text("correct horse battery\n")
        self._serve()

    def take(self, document: Path) -> None:
        """Do all that the document says. Raises `AssertionError` where something else is seen."""
        for language, text, scene in _STEP.findall(document.read_text()):
            if scene in self.scenes:
                self.scenes[scene](self)
            elif language == "console":
                for command, expected in _commands(text):
                    self._type(command, expected)
            elif language == "" and (named := _NAMED.match(text)):
                (self._folder / named[1]).write_text(text)

    def _type(self, command: str, expected: list[str]) -> None:
        typed = _PLACEHOLDER.sub(lambda found: self._known[found[1]], command).replace(_DATABASE, self._database)
        done = subprocess.run(
            ["/bin/sh", "-c", typed],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        seen = done.stdout.splitlines()
        assert done.returncode == 0, f"$ {typed}\n{done.stdout}"
        assert len(seen) == len(expected), f"$ {typed}\nthe document has {expected}, and not\n{done.stdout}"
        for line, wanted in zip(seen, expected, strict=True):
            found = re.fullmatch(self._pattern(wanted), line)
            assert found is not None, f"$ {typed}\nthe document has {wanted!r}, and not\n{done.stdout}"
            self._known |= found.groupdict()

    def _pattern(self, line: str) -> str:
        """What a line of the document stands for."""
        pattern, new = "", set[str]()
        for part in re.split(r"(<\w+>| +)", line):
            placeholder = _PLACEHOLDER.fullmatch(part)
            if placeholder is None:
                pattern += " +" if part.isspace() else re.escape(part)
            elif placeholder[1] == "when":
                pattern += _WHEN
            elif placeholder[1] in self._known:
                pattern += re.escape(self._known[placeholder[1]])
            elif placeholder[1] in new:
                pattern += f"(?P={placeholder[1]})"
            else:
                new.add(placeholder[1])
                pattern += rf"(?P<{placeholder[1]}>.*?)"
        return f"{pattern} *"

    # Scenes

    def _serve(self) -> None:
        self._url = self._server.enter_context(serving("--data", str(self._data))).url

    def _act(self) -> None:
        self._type("parlour admin room make den", ["den: made"])

    def _stop(self) -> None:
        self._server.close()
        require(postgres.programs() or os.environ.get("TEST_POSTGRES_URL"), "PostgreSQL is not installed")
        server = self._stack.enter_context(postgres.running())
        self._database = server.new_database()
        self._stack.callback(server.drop_database, self._database)

    def _report(self) -> None:
        asyncio.run(asyncio.wait_for(_reported(self._url), DEADLINE))

    scenes: Final[Mapping[str, Callable[["Walk"], None]]] = {
        "a report comes in": _report,
        "something was done": _act,
        "the server is stopped": _stop,
    }


def _commands(block: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a block, with what it prints."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *printed = part.splitlines()
        yield command, printed


async def _reported(url: str) -> None:
    """Ada meets a stranger, is insulted, and reports it."""
    async with Client.connect(url, name="ada", private=True) as ada, Client.connect(url, name="cy", private=True) as cy:
        for client in (ada, cy):
            await _heard(client, "match.found")
        await ada.send("hello")
        await _heard(cy, "message")
        await cy.send("go away, you fool")
        await _heard(ada, "message")
        await _heard(ada, "message")
        assert ada.booth is not None
        await ada.report(ada.booth, "insults")


async def _heard(client: Client, kind: str) -> None:
    async for event in client:
        if event.kind == kind:
            return
    raise AssertionError(f"no {kind} came")


def walked(document: Path, folder: Path) -> None:
    """Walk through the document, in an empty folder."""
    require(shutil.which("sh"), "there is no shell")
    with ExitStack() as stack:
        Walk(folder, stack).take(document)

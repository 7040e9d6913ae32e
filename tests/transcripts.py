"""Golden transcripts: conversations with the server, word for word, in docs/transcripts and docs/protocol.md.

A block of the language `transcript` is a conversation. Its lines are

    * ada opens /chat/public, v1        also: plain; opens again: a new connection of the same client
    ada > {"id": 1, "op": "hello"}      what ada sends
    ada < {"re": 1, "ok": true, ...}    what ada receives, then
    ada x 4504 replaced                 the code and reason with which the connection ended
    * 10 s pass                         nothing is done but wait
    * ada's line is cut
    * the server is started again

`<ada>` stands for the last session token that ada was given. Times are those of a clock that stands still unless time
passes; ids are counted. `python -m tests.transcripts` writes anew what is received.
"""

import json
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from parlour.testing import Client, Happening, Kit, V1Client

DOCS: Final = Path(__file__).parent.parent / "docs"
DOCUMENTS: Final = (*sorted((DOCS / "transcripts").glob("*.md")), DOCS / "protocol.md")

_BLOCK: Final = re.compile(r"^```transcript\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OPENS: Final = re.compile(r"\* (\w+) opens (\S+), (v1|plain)")
_PASSES: Final = re.compile(r"\* ([\d.]+) s pass")
_CUT: Final = re.compile(r"\* (\w+)'s line is cut")
_SAYS: Final = re.compile(r"(\w+) > (.*)")
_HEARD: Final = re.compile(r"\w+ [<x] ")
_RESTART: Final = "* the server is started again"


class _Conversation:
    """One block, said and heard."""

    def __init__(self) -> None:
        self._kit = Kit()
        self._clients: dict[str, Client | V1Client] = {}
        self._tokens: dict[str, str] = {}
        self._heard = 0  # entries of the trace

    def lines(self, block: str) -> Iterator[str]:
        """The block as it must be."""
        for line in block.splitlines():
            if _HEARD.match(line):
                continue
            yield line
            if line.strip() and not line.startswith("#"):
                self._do(line)
                yield from self._news()

    def _do(self, line: str) -> None:
        if opens := _OPENS.fullmatch(line):
            self._open(opens[1], opens[2], is_v1=opens[3] == "v1")
        elif says := _SAYS.fullmatch(line):
            self._say(self._clients[says[1]], says[2])
        elif passes := _PASSES.fullmatch(line):
            self._kit.advance(float(passes[1]))
        elif cut := _CUT.fullmatch(line):
            self._clients[cut[1]].drop()
        elif line == _RESTART:
            self._kit.restart()
        else:
            raise ValueError(f"no line of a transcript: {line}")
        self._kit.advance(0)

    def _open(self, name: str, path: str, *, is_v1: bool) -> None:
        if is_v1:
            self._clients[name] = self._kit.v1(name, path, hello=False)
        else:
            self._clients[name] = self._kit.private(name) if path == "/chat/private" else self._kit.public(name)

    def _say(self, client: Client | V1Client, text: str) -> None:
        for name, token in self._tokens.items():
            text = text.replace(f"<{name}>", token)
        if isinstance(client, V1Client):
            number = json.loads(text).get("id")
            if number is not None:
                client.commands[number] = json.loads(text)
        client.send_raw(text)

    def _news(self) -> Iterator[str]:
        """What each client received since the last line, those who came first first; each in its own order."""
        names = {client.label: name for name, client in self._clients.items()}
        news = [entry for entry in self._kit.trace[self._heard :] if entry.who in names]
        self._heard = len(self._kit.trace)
        order = list(names)
        for label, entries in groupby(sorted(news, key=lambda entry: order.index(entry.who)), lambda entry: entry.who):
            yield from (line for entry in entries for line in self._shown(names[label], entry))

    def _shown(self, name: str, entry: Happening) -> Iterator[str]:
        if entry.what == "line":
            yield f"{name} < {entry.detail}"
        elif entry.what == "closed" and entry.detail != "1006":
            closed = self._clients[name].closed
            yield f"{name} x {entry.detail} {closed.reason if closed is not None else ''}".rstrip()
        elif entry.what in ("event", "reply"):
            came: dict[str, Any] = json.loads(entry.detail)
            if "session" in came:
                self._tokens[name] = came["session"]
                came["session"] = f"<{name}>"
            if came.get("ev") != "ping":
                yield f"{name} < {json.dumps(came, ensure_ascii=False)}"


def renewed(document: str) -> str:
    """The document with its transcripts as the server makes them now."""

    def renew(block: re.Match[str]) -> str:
        return "```transcript\n" + "".join(f"{line}\n" for line in _Conversation().lines(block[1])) + "```"

    return _BLOCK.sub(renew, document)


if __name__ == "__main__":
    for path in DOCUMENTS:
        path.write_text(renewed(path.read_text()))

"""Fault 31: nothing that people send stands in a log, at the default level or at the one for debugging."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from functools import partial

import pytest

from tests.raw import BINARY, CLOSE, CONT, TEXT, ClosedError, DeniedError, connect, frame, get, line
from tests.servers import Server, running, serving, uvicorn
from tests.speaker import Speaker

pytestmark = pytest.mark.anyio

CANARY = "canary-7b1f"
HEADERS = [
    ("Cookie", f"session={CANARY}-cookie"),
    ("Authorization", f"Bearer {CANARY}-bearer"),
    ("User-Agent", f"{CANARY}-agent"),
    ("X-Forwarded-For", f"{CANARY}-forwarded"),
    ("Sec-WebSocket-Protocol", f"{CANARY}-protocol"),
]
QUERY = f"?token={CANARY}-query"


def mounted(app: str, *flags: str) -> AbstractContextManager[Server]:
    return running("-m", "uvicorn", "--port", "0", *flags, f"tests.hosts:{app}")


SERVERS: dict[str, tuple[Callable[[], AbstractContextManager[Server]], str]] = {
    "parlour serve": (partial(serving), ""),
    "parlour serve -v": (partial(serving, "-v"), ""),
    "parlour serve, json": (partial(serving, "-v", "--log-format", "json", "--transport", "asgi"), ""),
    "parlour serve, no booths": (partial(serving, "--booths", "off"), ""),
    "uvicorn": (partial(uvicorn), ""),
    "uvicorn, asgi": (partial(uvicorn, settings={"transport": "asgi"}), ""),
    "uvicorn, no booths": (partial(uvicorn, settings={"booths": "off"}), ""),
    "uvicorn, debug": (partial(uvicorn, "--log-level", "debug"), ""),
    "uvicorn, debug, asgi": (partial(uvicorn, "--log-level", "debug", settings={"transport": "asgi"}), ""),
    "in a host's app": (partial(mounted, "identified"), "/talk"),
}


@pytest.mark.parametrize("name", SERVERS)
async def test_31_no_log_tells_what_people_send(name: str) -> None:
    """In query, headers, subprotocol, names and texts; welcome or refused, well-formed or not, by the server or by an
    exception of the host's."""
    start, prefix = SERVERS[name]
    with start() as server:
        for path in (f"{prefix}/chat/public{QUERY}", f"{prefix}/chat/private{QUERY}"):
            for extra in (
                [],
                [("Origin", f"http://{CANARY}.example")],
                [("Sec-WebSocket-Protocol", f"parlour.{CANARY}")],
            ):
                with suppress(DeniedError, ClosedError):
                    async with connect(server.url, path, [*HEADERS, *extra]) as ada:
                        await ada.say(f"{CANARY}-name", f"{CANARY}-text")
                        await ada.line()
                        await ada.send(frame(BINARY, line(f"{CANARY}-name", f"{CANARY}-text")))
                        await ada.send(frame(TEXT, f'{{"{CANARY}-key": '.encode()))
                        await ada.send(frame(TEXT, line(f"{CANARY}> name", f"{CANARY}-text")))
                        await ada.send(frame(TEXT, f'"{CANARY}'.encode(), fin=False) + frame(CONT, b'"'))
                        await ada.lines(4)
                        await ada.send(frame(TEXT, f"{CANARY}\xff".encode("latin-1")))
                        await ada.closed()
            for end in (frame(CLOSE, b"\x03\xe8" + CANARY.encode()), frame(3, CANARY.encode()), CANARY.encode()):
                with suppress(DeniedError, ClosedError):
                    async with connect(server.url, path, HEADERS) as ada:
                        await ada.send(end)
                        await ada.closed()
        for user in ("", "fail", "7"):
            with suppress(DeniedError, ClosedError):
                async with connect(server.url, f"{prefix}/chat/public?user={user}&secret={CANARY}", HEADERS):
                    pass
        if name.startswith("parlour serve"):  # uvicorn's access log shows the query of a page: that is its own
            await get(server.url, f"/{QUERY}", HEADERS)
        server.signal()
        await asyncio.to_thread(server.exited)
        assert CANARY not in server.log


V1_HEADERS = [*HEADERS[:-1], ("Sec-WebSocket-Protocol", f"{CANARY}-protocol, parlour.v1.json")]
WISH = {"interests": [f"{CANARY}-tea"], "langs": [f"{CANARY}-de"], "key": f"{CANARY}-find"}
HELLO = {
    "name": f"{CANARY}-ada",
    "client": {"name": f"{CANARY}-program", "version": f"{CANARY}-1"},
    "langs": [f"{CANARY}-en"],
    "terms": f"{CANARY}-terms",
    "match": WISH,
    "resume": [{"room": f"{CANARY}-room", "epoch": f"{CANARY}-epoch", "off": 1}],
}
REFUSED_HELLOS: list[dict[str, str]] = [
    {"session": f"{CANARY}-session"},
    {"token": f"{CANARY}-token"},
    {"name": f"{CANARY}> name"},
    {"name": f"{CANARY}-name" * 100},
]
COMMANDS: list[tuple[str, Mapping[str, object]]] = [
    ("send", {"room": "public", "key": f"{CANARY}-key", "text": f"{CANARY}-text", "reply_to": f"{CANARY}-mid"}),
    ("send", {"room": "public", "key": f"{CANARY}-key", "text": f"{CANARY}-other"}),
    ("edit", {"room": "public", "mid": f"{CANARY}-mid", "text": f"{CANARY}-edited"}),
    ("react", {"room": "public", "mid": f"{CANARY}-mid", "emoji": CANARY}),
    ("delete", {"room": "public", "mid": f"{CANARY}-mid"}),
    ("history", {"room": f"{CANARY}-room"}),
    ("join", {"room": f"{CANARY}-room"}),
    ("name", {"name": f"{CANARY}-bo"}),
    ("match.find", WISH),
    ("match.next", WISH),
    ("block", {"person": f"{CANARY}-person", "room": f"{CANARY}-room"}),
    ("block", {"person": f"{CANARY}-person"}),
    (f"{CANARY}-op", {f"{CANARY}-field": CANARY}),
    ("ping", {f"{CANARY}-field": CANARY}),
]
ENDS = {
    "nonsense": frame(TEXT, f'{{"{CANARY}-key": '.encode()) * 10,
    "binary": frame(BINARY, CANARY.encode()),
    "not UTF-8": frame(TEXT, f"{CANARY}\xff".encode("latin-1")),
    "bye": frame(CLOSE, b"\x03\xe8" + CANARY.encode()),
    "no opcode": frame(3, CANARY.encode()),
}


@pytest.mark.parametrize("name", SERVERS)
async def test_31_no_log_tells_what_v1_clients_send(name: str) -> None:
    """In hellos that are welcome or refused, in each command, in whatever ends a connection; nor the token with which
    somebody else could come back."""
    start, prefix = SERVERS[name]
    tokens: list[str] = []
    with start() as server:
        for path in ("/chat/public", "/chat/private", "/chat"):
            for end in ENDS.values():
                with suppress(DeniedError, ClosedError):  # where there are no booths
                    headers = [*V1_HEADERS, ("Origin", server.url)]  # a cookie needs one
                    async with connect(server.url, f"{prefix}{path}{QUERY}", headers) as client:
                        ada = Speaker(client)
                        for wrong in REFUSED_HELLOS:
                            assert not (await ada.ask("hello", **wrong))["ok"]
                        back = {"session": tokens[-1]} if tokens else {}
                        await ada.hello(**HELLO, **back)
                        tokens.append(ada.session)
                        for op, fields in COMMANDS:
                            await ada.ask(op, **fields)
                        client.write(end)
                        await ada.closed()
        assert len(tokens) >= 10
        server.signal()
        await asyncio.to_thread(server.exited)
        assert CANARY not in server.log
        assert not [token for token in tokens if token in server.log or token.split(".")[-1] in server.log]

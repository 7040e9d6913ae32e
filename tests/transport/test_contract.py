"""One contract for both transports: what a client sees is the same, whoever serves it."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from itertools import product

import pytest

from parlour.hub import FRAGMENTS_LIMIT
from parlour.wire.contract import FRAME_LIMIT
from tests.raw import (
    BINARY,
    CLOSE,
    CONT,
    DEADLINE,
    PING,
    PONG,
    TEXT,
    Client,
    ClosedError,
    connect,
    frame,
    line,
    said,
)
from tests.servers import Server, fill, until, uvicorn
from tests.speaker import Speaker, command, silent
from tests.transport.conftest import Serving, Way

pytestmark = pytest.mark.anyio

LOOPS = ("asyncio", "uvloop")
TAKEN = [
    *(Way("auto", loop) for loop in LOOPS),
    *(Way("auto", loop, tls=True) for loop in LOOPS),
    Way("auto", "uvloop", oldest=True),
    Way("auto", "asyncio", flags=("--http", "h11")),
]
LEFT_ALONE = [
    *(Way("asgi", loop) for loop in LOOPS),
    Way("asgi", "uvloop", tls=True),
    Way("asgi", "asyncio", oldest=True),
]
FALLING_BACK = [Way(flags=("--ws", "websockets")), Way(flags=("--ws", "wsproto"))]
"""uvicorn's other WebSocket classes can't be taken over; how strict they are is their own affair."""


def served(*ways: Way) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("server", ways, indirect=True, ids=str)


strict = served(*TAKEN, *LEFT_ALONE)
everywhere = served(*TAKEN, *LEFT_ALONE, *FALLING_BACK)

ADA = said("ada", "hi")


@asynccontextmanager
async def joined(
    server: Serving, path: str = "/chat/public", receive_buffer: int | None = None
) -> AsyncIterator[Client]:
    async with connect(server.url, path, tls=server.tls, receive_buffer=receive_buffer) as client:
        yield client


async def closed_by(server: Serving, *cases: bytes) -> list[int | None]:
    """Each case comes from a client of its own, all at once; the codes that they are closed with. Nobody else is
    disturbed."""

    async def code_for(data: bytes) -> int | None:
        async with joined(server) as ada:
            await ada.send(data)
            code, _ = await ada.closed()
            await ada.ended()
            return code

    async with joined(server) as bo:
        codes = await asyncio.gather(*map(code_for, cases))
        await bo.say("bo", "still here")
        assert await bo.line() == "bo> still here"
        return codes


# Talking


@everywhere
async def test_all_hear_all_in_order(server: Serving) -> None:
    async with joined(server) as ada, joined(server) as bo:
        await ada.send(b"".join(said("ada", str(number)) for number in range(300)))
        expected = [f"ada> {number}" for number in range(300)]
        assert await ada.lines(300) == expected
        assert await bo.lines(300) == expected


@everywhere
async def test_two_meet_in_a_booth(server: Serving) -> None:
    async with (
        joined(server, "/chat/private") as ada,
        joined(server, "/chat/private") as bo,
        joined(server, "/chat/private") as cy,
    ):
        await cy.say("cy", "alone")
        assert await cy.line() == "cy> alone"
        await ada.say("ada", "hi")
        assert await ada.line() == await bo.line() == "ada> hi"
        for one in (cy, ada, bo):
            await one.leave()


@everywhere
async def test_binary_is_taken_like_text(server: Serving) -> None:
    async with joined(server) as ada:
        await ada.send(frame(BINARY, line("ada", "grüße 🦦")))
        assert await ada.line() == "ada> grüße 🦦"
        await ada.send(frame(BINARY, b"\xff\xfe"))
        assert (await ada.line()).startswith("! bad_frame: ")


@everywhere
async def test_all_sizes_of_frames(server: Serving) -> None:
    """Around the borders of the header's three forms, in both directions."""
    frameless = len(line("ada", ""))
    async with joined(server) as ada:
        for size in (0, 125 - frameless, 126 - frameless, 119, 120, 121, 65535 - frameless, 65536 - frameless, 9_999):
            text = "x" * min(size, 10_000)
            await ada.say("ada", text)
            assert await ada.line() == f"ada> {text}"
        long = "🦦" * 10_000
        await ada.send(frame(TEXT, b'{"username":"ada","message":"' + long.encode() + b'"}'))
        assert await ada.line() == f"ada> {long}"


@everywhere
async def test_the_longest_message_that_is_read(server: Serving) -> None:
    """128 KiB on the wire are read, and refused with words, for no message may be that long."""
    async with joined(server) as ada:
        payload = line("ada", "x" * (FRAME_LIMIT - len(line("ada", ""))))
        assert len(payload) == FRAME_LIMIT
        await ada.send(frame(TEXT, payload))
        assert (await ada.line()).startswith("! too_large: ")
        await ada.send(frame(BINARY, payload))
        assert (await ada.line()).startswith("! too_large: ")


@everywhere
async def test_a_message_in_fragments(server: Serving) -> None:
    """Cut within a character, with a ping in between."""
    payload = '{"username": "ada", "message": "üüü"}'.encode()
    async with joined(server) as ada:
        at = payload.index("ü".encode()) + 1
        await ada.send(frame(TEXT, payload[:at], fin=False))
        await ada.send(frame(PING, b"still there?"))
        assert await ada.frame() == (0x80 | PONG, b"still there?")
        await ada.send(frame(CONT, payload[at : at + 1], fin=False) + frame(CONT, b"", fin=False))
        await ada.send(frame(CONT, payload[at + 1 :]))
        assert await ada.line() == "ada> üüü"
        await ada.send(frame(BINARY, payload[:at], fin=False) + frame(CONT, payload[at:]) + ADA)
        assert await ada.lines(2) == ["ada> üüü", "ada> hi"]


@everywhere
async def test_as_many_fragments_as_allowed(server: Serving) -> None:
    payload = line("ada", "x" * 100)
    pieces = [payload[at : at + 1] for at in range(FRAGMENTS_LIMIT - 1)]
    async with joined(server) as ada:
        for opcode, piece in zip((TEXT, *[CONT] * (len(pieces) - 1)), pieces, strict=True):
            await ada.send(frame(opcode, piece, fin=False))
        await ada.send(frame(CONT, payload[len(pieces) :]))
        assert await ada.line() == f"ada> {'x' * 100}"


@everywhere
async def test_pings_are_answered(server: Serving) -> None:
    async with joined(server) as ada:
        for payload in (b"", b"x", b"x" * 125):
            await ada.send(frame(PING, payload))
            assert await ada.frame() == (0x80 | PONG, payload)
        await ada.send(frame(PONG, b"nobody asked"))
        await ada.send(ADA + frame(PING, b"behind") + ADA)
        got = [await ada.frame() for _ in range(3)]
        assert sorted(got) == sorted([(0x80 | PONG, b"behind"), (0x81, b"ada> hi"), (0x81, b"ada> hi")])


@everywhere
async def test_frames_byte_by_byte(server: Serving) -> None:
    """Text, ping and fragments; each byte a packet of its own."""
    data = (
        ADA + frame(PING, b"p") + frame(TEXT, line("ada", "x" * 200)) + frame(TEXT, b"{", fin=False) + frame(CONT, b"}")
    )
    async with joined(server) as ada:
        for at in range(len(data)):
            await ada.send(data[at : at + 1])
        got = [await ada.frame() for _ in range(4)]
    assert [one.data.partition(b":")[0] for one in got if one.opcode == TEXT] == [
        b"ada> hi",
        b"ada> " + b"x" * 200,
        b"! bad_field",
    ]
    assert (0x80 | PONG, b"p") in got


@everywhere
async def test_deflate_is_declined(server: Serving) -> None:
    """Whoever serves `--ws websockets` or `wsproto` decides that with flags of uvicorn."""
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
    async with connect(server.url, headers=offer, tls=server.tls) as ada:
        if server.way not in FALLING_BACK:
            assert "sec-websocket-extensions" not in ada.response.headers
        await ada.send(ADA)
        assert (await ada.frame()).data == b"ada> hi" or server.way in FALLING_BACK


# Slow readers


@everywhere
async def test_a_crowd_gets_everything(server: Serving) -> None:
    """No healthy member is ever left behind, on TLS neither, where no write is done at once."""
    texts = [str(number) + "x" * 2_000 for number in range(20)]
    async with asyncio.timeout(2 * DEADLINE):
        async with joined(server) as a, joined(server) as b, joined(server) as c, joined(server) as d:
            for _ in range(20):
                await a.send(b"".join(said("ada", text) for text in texts))
                for member in (a, b, c, d):
                    assert await member.lines(20) == [f"ada> {text}" for text in texts]


@strict
async def test_who_was_slow_for_a_while_gets_everything(server: Serving) -> None:
    """What waits for one who does not read comes in order, and then the room live."""
    async with joined(server) as ada, joined(server, receive_buffer=2048) as bo:
        bo.stop_reading()
        count = await fill(bo, ada)
        bo.read_again()
        for _ in range(count):
            assert await bo.line() == f"ada> {'x' * 10_000}"
        for name, one in (("bo", bo), ("ada", ada)):
            await one.say(name, "hi")
            assert await ada.line() == await bo.line() == f"{name}> hi"


# The end


@everywhere
@pytest.mark.parametrize("payload", [b"", struct.pack("!H", 1000), struct.pack("!H", 1001) + b"gone", b"\x0f\xa0"])
async def test_a_client_closes(server: Serving, payload: bytes) -> None:
    """It is answered with its own code, hears what it said before, and the connection ends."""
    async with joined(server) as ada:
        await ada.send(ADA + frame(CLOSE, payload) + ADA)
        got = [await ada.frame() for _ in range(2)] if server.way in TAKEN else [await ada.frame()]
        if server.way in TAKEN:
            assert [one.data for one in got] == [b"ada> hi", payload]
        await ada.ended()


@everywhere
async def test_the_server_closes(server: Serving) -> None:
    """Code and reason arrive, behind what was said before; then the connection ends."""
    async with joined(server) as ada:
        await ada.send(frame(TEXT, b"nonsense") * 10 + ADA)
        got = [await ada.frame() for _ in range(11)]
        assert all(one.data.startswith(b"! bad_frame: ") for one in got[:10])
        assert got[10] == (0x80 | CLOSE, struct.pack("!H", 4510) + b"too many errors")
        await ada.send(ADA + frame(CLOSE, got[10].data))
        await ada.ended()


@served(*TAKEN[:3], LEFT_ALONE[0])
async def test_the_server_closes_without_an_answer(server: Serving) -> None:
    """A client that does not answer the close frame is cut off, and its seat was free before."""
    async with joined(server) as bo, joined(server) as ada:
        await ada.send(frame(TEXT, b"nonsense") * 10)
        for _ in range(11):
            await ada.frame()
        await bo.say("bo", "hi")
        assert await bo.line() == "bo> hi"
        with pytest.raises(ClosedError):
            await ada.frame()


@everywhere
@pytest.mark.parametrize("data", [b"", ADA[:1], ADA[:5], ADA[:-1], frame(TEXT, b"{", fin=False)])
async def test_a_client_crashes(server: Serving, data: bytes) -> None:
    """In the middle of anything: its partner's booth has a free seat then."""
    async with joined(server, "/chat/private") as bo:
        async with joined(server, "/chat/private") as ada:
            await ada.send(ADA + data)
            assert await ada.line() == await bo.line() == "ada> hi"
        await expect_free_seat(server, bo)


@everywhere
async def test_a_client_stops_sending(server: Serving) -> None:
    """It ends its half of the connection without a close frame."""
    async with joined(server, "/chat/private") as bo, joined(server, "/chat/private") as ada:
        await ada.send(ADA)
        assert await ada.line() == await bo.line() == "ada> hi"
        if server.tls is None:
            ada.writer.write_eof()
            await ada.ended()
        else:
            ada.cut()
        await expect_free_seat(server, bo)


async def expect_free_seat(server: Serving, bo: Client) -> None:
    """Newcomers come until one meets bo."""

    async def meets_bo() -> bool:
        async with joined(server, "/chat/private") as cy:
            await cy.say("cy", "hi")
            assert await cy.line() == "cy> hi"
            await bo.say("bo", "anyone?")
            first = await bo.line()
            await cy.leave()
            return first == "cy> hi" and await bo.line() == "bo> anyone?"

    await until(meets_bo, "a free seat")


# Breaking the rules


@served(TAKEN[1], TAKEN[3], *LEFT_ALONE)
async def test_too_big_a_message(server: Serving) -> None:
    payload = line("ada", "x" * FRAME_LIMIT)
    cases = [frame(TEXT, payload), frame(BINARY, payload)]
    cases += [frame(opcode, payload[:100_000], fin=False) + frame(CONT, payload[100_000:]) for opcode in (TEXT, BINARY)]
    assert await closed_by(server, *cases) == [1009] * 4


@served(TAKEN[0])
async def test_too_big_a_message_is_not_waited_for(server: Serving) -> None:
    """Its header is enough."""
    sizes = (FRAME_LIMIT + 1, 1 << 40, (1 << 63) + 1)
    assert await closed_by(server, *(struct.pack("!BBQ4s", 0x81, 0x80 | 127, size, b"mask") for size in sizes)) == [
        1009,
        1009,
        1009,
    ]


@served(*TAKEN)
async def test_too_many_fragments(server: Serving) -> None:
    pieces = [frame(CONT, b"", fin=False)] * FRAGMENTS_LIMIT
    assert await closed_by(server, frame(TEXT, b"{", fin=False) + b"".join(pieces)) == [1009]


@strict
async def test_text_that_is_not_utf_8(server: Serving) -> None:
    cases = []
    for text in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"):
        payload = b'{"username": "ada", "message": "' + text + b'"}'
        cases += [frame(TEXT, payload), frame(TEXT, payload[:5], fin=False) + frame(CONT, payload[5:])]
    assert await closed_by(server, *cases) == [1007] * 8


BROKEN = {
    "no mask": frame(TEXT, b"{}", masked=False),
    "no mask, longer": frame(TEXT, line("ada", "hi"), masked=False),
    "no mask, longest": frame(TEXT, line("ada", "hi") * 9, masked=False),
    "no mask, empty": frame(TEXT, masked=False),
    "compressed": frame(TEXT, b"{}", reserved=4),
    "reserved bit": frame(TEXT, b"{}", reserved=1),
    "unknown opcode": frame(3, b"{}"),
    "unknown control opcode": frame(11, b"{}"),
    "continues nothing": frame(CONT, b"{}"),
    "text within fragments": frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"),
    "fragments within fragments": frame(TEXT, b"{", fin=False) + frame(BINARY, b"}", fin=False),
    "ping in fragments": frame(PING, b"", fin=False),
    "ping too long": frame(PING, b"x" * 126),
    "half a close code": frame(CLOSE, b"x"),
    "close code that is never sent": frame(CLOSE, struct.pack("!H", 1005)),
    "close code too low": frame(CLOSE, struct.pack("!H", 999)),
    "close within fragments": frame(TEXT, b"{", fin=False) + frame(CLOSE, b""),
}


@strict
async def test_broken_frames(server: Serving) -> None:
    codes = await closed_by(server, *BROKEN.values())
    assert dict(zip(BROKEN, codes, strict=True)) == dict.fromkeys(BROKEN, 1002)


@strict
async def test_a_close_reason_that_is_not_utf_8(server: Serving) -> None:
    (code,) = await closed_by(server, frame(CLOSE, struct.pack("!H", 1000) + b"\xff"))
    assert code in (1002, 1007)


@strict
async def test_nothing_is_heard_from_a_closed_connection(server: Serving) -> None:
    """What comes behind an error, or behind a close frame, in one piece or later, is no line any more."""
    async with joined(server) as bo:
        for end in (frame(TEXT, b"\xff"), frame(CONT), frame(CLOSE), frame(TEXT, b"x" * (FRAME_LIMIT + 1))):
            async with joined(server) as ada:
                await ada.send(end + ADA)
                await ada.send(ADA)
                await ada.closed()
        await bo.say("bo", "hi")
        assert await bo.line() == "bo> hi"


# v1


@asynccontextmanager
async def speaking(
    server: Serving, path: str = "/chat/public", receive_buffer: int | None = None, **hello: str
) -> AsyncIterator[Speaker]:
    """A v1 client that has said hello."""
    async with silent(server.url, path, tls=server.tls, receive_buffer=receive_buffer) as speaker:
        await speaker.hello(**hello)
        yield speaker


@everywhere
async def test_v1_a_conversation(server: Serving) -> None:
    """Hello, a message, its event before its reply, an answer in plain, a ping, an error, and a farewell."""
    async with joined(server) as cy, speaking(server, name="Ada") as ada:
        async with speaking(server, name="Bo") as bo:
            assert (await ada.event("member.joined"))["member"] == bo.person
            number = ada.write("send", room="public", key="k1", text="grüße 🦦")
            event, reply = await ada.next(), await ada.next()
            assert (event["ev"], event["text"], event["from"]) == ("message", "grüße 🦦", ada.person)
            assert (reply["re"], reply["mid"], reply["off"]) == (number, event["mid"], event["off"])
            assert await ada.event("message") == await bo.event("message") == event
            assert await cy.line() == "Ada> grüße 🦦"
            await cy.say("cy", "hi")
            for one in (ada, bo):
                heard = await one.event("message")
                assert (heard["off"], heard["text"]) == (event["off"] + 1, "hi")
                assert (heard["from"]["name"], heard["from"]["plain"]) == ("cy", True)
            assert (await ada.ask("ping"))["ts"] > 0
            assert (await ada.ask("nonsense"))["error"]["code"] == "unknown_op"
            ada.client.write(frame(TEXT, b"nonsense"))
            assert (await ada.reply(None))["error"]["code"] == "bad_frame"
            assert (await bo.ask("leave", room="public"))["ok"]
            assert (await ada.event("member.left"))["reason"] == "left"
            await bo.client.leave()
        assert (await ada.ask("presence", room="public"))["count"] == 2


@everywhere
async def test_v1_two_meet_and_one_is_lost(server: Serving) -> None:
    """Both hear of each other and then of what is said; one that crashes leaves its seat to be kept."""
    async with speaking(server, "/chat/private", name="Ada") as ada:
        async with speaking(server, "/chat/private", name="Bo") as bo:
            found = await bo.event("match.found")
            assert found["peer"]["name"] == "Ada"
            booth, peer = found["room"], (await ada.event("match.found"))["peer"]
            await ada.ask("send", room=booth, key="k", text="hi")
            message = await bo.event("message")
            assert (message["from"], message["text"]) == (found["peer"], "hi")
            assert message["stamp"]
            await bo.ask("typing", room=booth)
            assert (await ada.event("typing"))["from"] == peer
        assert (await ada.event("match.away"))["room"] == booth
        assert (await ada.ask("leave", room=booth))["ok"]


@everywhere
async def test_v1_all_sizes_of_frames(server: Serving) -> None:
    """In fragments, cut within a character; and replies that are larger than any frame may be that comes in."""
    texts = ["x" * 10_000, "🦦" * 10_000, "🦦\u0001" * 5_000]
    async with speaking(server) as ada:
        for number, text in enumerate(texts):
            payload = json.dumps(
                {"op": "send", "id": 100 + number, "room": "public", "key": f"{number}", "text": text},
                ensure_ascii=False,
            ).encode()
            at = payload.index(b'"text"') + 10
            ada.client.write(frame(TEXT, payload[:at], fin=False) + frame(PING, b"p") + frame(CONT, payload[at:]))
            assert (await ada.reply(100 + number))["ok"]
            assert (await ada.event("message"))["text"] == text.replace("\u0001", " ")
        page = await ada.ask("history", room="public", limit=3)
        assert [one["text"] for one in page["messages"]] == [text.replace("\u0001", " ") for text in texts]
        assert len(json.dumps(page, ensure_ascii=False).encode()) > 65_536


@everywhere
async def test_v1_pings_both_ways(server: Serving) -> None:
    """WebSocket pings and the commands stand beside each other; a `pong` that nobody asked for is fine."""
    async with speaking(server) as ada:
        await ada.client.send(frame(PING, b"x") + command("ping", 7) + command("pong", 8) + frame(PONG, b"y"))
        got = [await ada.client.frame() for _ in range(3)]
        assert (0x80 | PONG, b"x") in got
        replies = [json.loads(one.data) for one in got if one.opcode == TEXT]
        assert [(one["re"], one["ok"]) for one in replies] == [(7, True), (8, True)]
        ada.client.write(frame(TEXT, b'{"op":"pong"}'))
        assert (await ada.ask("ping"))["ok"]


@everywhere
async def test_v1_a_binary_frame_ends_it(server: Serving) -> None:
    """Behind what was said before it; `bye` tells the code that the close frame has."""
    async with speaking(server) as ada:
        ada.client.write(command("ping", 7) + frame(BINARY, b'{"op":"ping","id":8}') + command("ping", 9))
        assert await ada.closed() == 4500
        assert [event for event in ada.events if event["ev"] == "bye"] == [
            {"ev": "bye", "code": 4500, "reason": "binary frame; send text", "reconnect": False}
        ]
        await ada.client.ended()


@everywhere
async def test_v1_ten_errors_end_it(server: Serving) -> None:
    """Each has its answer, then come `bye` and the close frame."""
    async with speaking(server) as ada:
        ada.client.write(frame(TEXT, b"nonsense") * 10 + command("ping", 9))
        came = [await ada.next() for _ in range(11)]
        assert [one["error"]["code"] for one in came[:10]] == ["bad_frame"] * 10
        assert (came[10]["ev"], came[10]["code"]) == ("bye", 4510)
        assert await ada.client.closed() == (4510, "too many errors")


@strict
async def test_v1_a_resume_is_not_counted_against_a_slow_reader(server: Serving) -> None:
    """More than 256 KiB were missed, by one whose kernel takes 2 KiB: all of it comes, and then the room live."""
    lines = 40
    async with speaking(server, name="Ada") as ada:
        async with speaking(server, name="Bo") as bo:
            back = bo.resume
        for number in range(lines):
            await ada.ask("send", room="public", key=f"{number}", text=f"{number} {'x' * 9_000}")
        async with silent(server.url, "/chat", tls=server.tls, receive_buffer=2048) as again:
            (place,) = (await again.hello(**back))["rooms"]
            assert (place["recovered"], place["upto"] - place["off"]) == (True, lines)
            await ada.ask("send", room="public", key="live", text="live")
            texts = [(await again.event("message"))["text"].split()[0] for _ in range(lines + 1)]
            assert texts == [*map(str, range(lines)), "live"]


async def test_v1_heartbeats() -> None:
    """The `ping` event comes on every transport, also where WebSocket pings are the server's own; any word keeps one,
    and silence is the end. WebSocket pongs count where the hub sees them."""

    async def beat(server: Server, mute_lives: bool) -> None:
        async with silent(server.url) as ada, silent(server.url) as mute, silent(server.url) as dead:
            mute.answers_pings = False  # but its library answers those of WebSocket
            for one in (ada, mute, dead):
                await one.hello()
            lives = [asyncio.create_task(one.closed()) for one in (ada, mute)]
            await dead.client.ended()
            if not mute_lives:
                assert await lives[1] is None
            for one in (ada, mute):
                one.client.write(frame(CLOSE, struct.pack("!H", 1000)))
            assert await lives[0] == 1000
            assert await lives[1] == (1000 if mute_lives else None)

    with ExitStack() as servers:
        async with asyncio.TaskGroup() as group:
            for transport, loop in product(("auto", "asgi"), LOOPS):
                settings = {"transport": transport, "ping": "0.5", "ping_timeout": "4"}
                flags = ("--loop", loop, "--ws-ping-interval", "600")
                server = servers.enter_context(uvicorn(*flags, settings=settings))
                group.create_task(beat(server, mute_lives=transport == "auto"))

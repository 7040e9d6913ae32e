"""What breaks chat servers, tried on v1 against the running server. The numbers are those of the faults."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from typing import Any

import pytest

from parlour.errors import BINARY as BINARY_FRAME
from parlour.errors import TOO_MANY_ERRORS
from tests.raw import BINARY, TEXT, ClosedError, DeniedError, connect, frame
from tests.servers import Server, canary, running, serving, until, until_people
from tests.speaker import Network, Speaker, between, command, silent, speaking

pytestmark = pytest.mark.anyio


STOPS_WITHIN = 10.0
"""Seconds that the operator waits at most."""

SOON = """
from parlour.core import connection
connection.STALL_LIMIT = 1.0
"""

AT_ONCE = """
from parlour.core import pairing
pairing.AVOID = 0.0
"""


@asynccontextmanager
async def v1_canary(url: str) -> AsyncIterator[None]:
    """Two v1 clients talk in a booth of their own while the block runs: nothing may be lost or doubled. Where their
    rate is low, they wait as long as they are told."""
    stopped = asyncio.Event()

    async def talk(ada: Speaker, bo: Speaker, booth: str) -> None:
        number = 0
        while not stopped.is_set() or not number:
            number += 1
            while not (sent := await ada.ask("send", room=booth, key=f"k{number}", text=f"line {number}"))["ok"]:
                assert sent["error"]["code"] == "rate_limited", sent
                await asyncio.sleep(sent["error"]["retry_after_ms"] / 1000)
            assert (await bo.event("message"))["text"] == f"line {number}"
            try:
                async with asyncio.timeout(0.05):
                    await stopped.wait()
            except TimeoutError:
                pass

    async with (
        speaking(url, "/chat") as ada,
        speaking(url, "/chat") as bo,
    ):
        wish = {"interests": ["canaries"], "relax": "never"}
        await ada.ask("match.find", **wish)
        await bo.ask("match.find", **wish)
        booth = (await bo.event("match.found"))["room"]
        await ada.event("match.found")
        talking = asyncio.create_task(talk(ada, bo, booth))
        try:
            yield
        finally:
            stopped.set()
            await talking


HOSTILE = {
    "NaN": '{"id":1,"op":"send","room":"public","key":"k","text":NaN}',
    "a lone surrogate": '{"id":1,"op":"send","room":"public","key":"k","text":"\\ud800"}',
    "NUL": '{"id":1,"op":"send","room":"public","key":"k","text":"\\u0000"}',
    "depth": '{"id":1,"op":"ping","x":' + "[" * 60_000 + "]" * 60_000 + "}",
    "a long integer": '{"id":1,"op":"history","room":"public","before":' + "9" * 5000 + "}",
    "a byte order mark": '\ufeff{"id":1,"op":"ping"}',
    "no object": "[]",
    "no JSON": "hello",
    "nothing": "",
}


@pytest.mark.parametrize("transport", ["auto", "asgi"])
async def test_3_hostile_json_is_refused_and_the_connection_lives(transport: str) -> None:
    """Each gets an error of its own, in order."""
    with serving("--transport", transport) as server:
        async with speaking(server.url) as ada, v1_canary(server.url):
            for text in HOSTILE.values():
                ada.client.write(frame(TEXT, text.encode()))
                refused = await ada.next()
                assert refused["error"]["code"] in ("bad_frame", "bad_field", "too_large"), refused
                assert (await ada.ask("ping"))["ok"]


async def test_5_names_that_look_like_others_are_refused() -> None:
    """Reserved ones on both wires; on v1 also those of v1 members who are there."""
    with serving("--reserved-names", "admin") as server:
        async with speaking(server.url, name="Ada") as ada, connect(server.url) as plain, silent(server.url) as cy:
            await plain.say("\u0430dmin", "I am the operator")
            assert (await plain.line()).startswith("! bad_name: ")
            await plain.say("Ada", "plain names are labels")
            assert await plain.line() == "Ada> plain names are labels"
            for name in ("ADMIN", "adm1n", "\u0430dmin", "Ada", "\u0410d\u0430", "ada"):
                refused = await cy.ask("hello", name=name)
                assert (refused["error"]["code"], refused["error"]["field"]) == ("bad_name", "name"), name
            await cy.hello(name="Cy")
            assert (await cy.ask("name", name="ad\u0430"))["error"]["code"] == "bad_name"
            assert (await ada.ask("name", name="ADA"))["name"] == "ADA"


@pytest.mark.parametrize("transport", ["auto", "asgi"])
async def test_9_a_line_that_swallows_everything_is_noticed(transport: str) -> None:
    """The server keeps the seat for a while, and tells the other one in the booth. The client's end is its own: it
    hears no ping any more."""
    with serving("--transport", transport, "--ping", "1", "--ping-timeout", "1") as server:
        async with (
            canary(server.url),
            v1_canary(server.url),
            between(server.url) as network,
            speaking(server.url, "/chat") as ada,
            speaking(network.url, "/chat") as bo,
        ):
            await ada.ask("match.find")
            await bo.ask("match.find")
            await ada.event("match.found")
            network.swallows = True
            await ada.event("match.away")
            await until_people(server.url, 2 + 2 + 1)


async def test_10_one_who_says_no_hello_is_let_go() -> None:
    """With 4511, though it answers every ping."""
    with serving("--ping", "1") as server:
        async with silent(server.url) as mute:
            assert await mute.closed() == 4511
            assert [event["code"] for event in mute.events if event["ev"] == "bye"] == [4511]


async def test_13_a_flood_is_refused_then_not_read_and_others_do_not_notice() -> None:
    """At the rate it is heard; over it each command is refused with the time to wait, and the flood stops at the
    kernel."""
    with serving("--rate", "20", "--burst", "40") as server:
        async with speaking(server.url) as flooder, canary(server.url) as record, v1_canary(server.url):
            for number in range(5000):
                flooder.client.write(command("send", number + 10, room="public", key=f"{number}", text="flood"))
            replies: list[dict[str, Any]] = []
            while sum(one["ok"] for one in replies) < 39 or len(replies) < 60:  # hello took one of the burst
                came = await flooder.next()
                if "re" in came:
                    replies.append(came)
            refused = [one["error"] for one in replies if not one["ok"]]
            assert {one["code"] for one in refused} == {"rate_limited"}
            assert all(one["retry"] and one["retry_after_ms"] > 0 for one in refused)
            await until_unread(flooder)
        assert record.p99 < 0.25


@pytest.mark.parametrize("transport", ["auto", "asgi"])
async def test_13_who_goes_on_regardless_is_let_go(transport: str) -> None:
    """A minute of not being read (here a second), and it is closed with 4013. What was refused was never said."""
    with serving("--transport", transport, "--rate", "2", "--burst", "30", before=SOON) as server:
        async with (
            canary(server.url),
            v1_canary(server.url),
            speaking(server.url) as hearer,
            speaking(server.url) as flooder,
        ):
            pressing = asyncio.create_task(press(flooder))
            replies: list[dict[str, Any]] = []
            code: int | None = 0
            while code == 0:
                try:
                    came = await flooder.next()
                except ClosedError as closed:
                    code = closed.code
                else:
                    replies += [came] if "re" in came else []
            pressing.cancel()
            assert code == 4013
            assert [event["code"] for event in flooder.events if event["ev"] == "bye"] == [4013]
            said = [
                one["mid"] for one in replies if one["ok"]
            ]  # who is let go does not hear what was stored after that
            assert {one["error"]["code"] for one in replies if not one["ok"]} == {"rate_limited"}
            assert (await hearer.ask("send", room="public", key="quiet", text="quiet now"))["ok"]
            heard = []
            while (message := await hearer.event("message"))["text"] != "quiet now":
                heard.append(message["mid"])
            assert len(heard) >= 29  # hello took one
            assert set(said) <= set(heard)
        assert "Traceback" not in server.log


async def press(flooder: Speaker) -> None:
    """Say something again and again, as fast as the server takes it."""
    with suppress(OSError, TimeoutError):
        for number in count(10):
            text = f"{number} {'x' * 100}"
            await flooder.client.send(command("send", number, room="public", key=f"{number}", text=text))


async def until_unread(flooder: Speaker) -> None:
    """Wait until the server takes no more: what was written waits in this process."""

    async def waits() -> bool:
        return flooder.client.writer.transport.get_write_buffer_size() > 0 or flooder.client.writer.is_closing()

    for number in range(10_000):  # more than all kernels' buffers take
        flooder.client.write(command("send", number + 10_000, room="public", key=f"x{number}", text="flood" * 400))
    await until(waits, "the server stops reading")


async def cut_and_back(server: Server, clients: int, messages: int) -> None:
    """Everyone's line is cut at once; more is said; all come back, and each has heard everything once."""
    async with between(server.url) as network, AsyncExitStack() as stack:
        ada = await stack.enter_async_context(speaking(server.url, name="Ada"))
        everyone = [await stack.enter_async_context(speaking(network.url)) for _ in range(clients)]
        for number in range(messages):
            await ada.ask("send", room="public", key=f"before {number}", text=f"{number}")
        network.cut()
        for one in everyone:
            assert await one.closed() is None
            one.client.cut()  # each takes a file of this process
        for number in range(messages):
            await ada.ask("send", room="public", key=f"meanwhile {number}", text=f"{messages + number}")

        async def come_back(old: Speaker) -> None:
            async with arriving:
                new = await stack.enter_async_context(silent(network.url))
                welcome = await new.hello(**old.resume)
            (place,) = welcome["rooms"]
            assert place["recovered"]
            heard = [event for event in old.events if event["ev"] == "message"]
            while not heard or heard[-1]["text"] != "the end":
                heard.append(await new.event("message"))
            assert [event["text"] for event in heard] == [*map(str, range(2 * messages)), "the end"]

        arriving = asyncio.Semaphore(300)  # at a time: clients spread over some seconds, and there is one of us
        returning = [asyncio.create_task(come_back(one)) for one in everyone]
        await ada.ask("send", room="public", key="end", text="the end")
        await asyncio.gather(*returning)
        assert "Traceback" not in server.log


async def test_16_all_come_back_at_once() -> None:
    """300 clients lose their lines together; nobody misses anything, nobody hears anything twice."""
    with serving() as server:
        await cut_and_back(server, 300, 10)


@pytest.mark.stress
async def test_16_five_thousand_come_back_at_once() -> None:
    with serving() as server:
        await cut_and_back(server, 5000, 10)


@pytest.mark.parametrize("transport", ["auto", "asgi"])
async def test_18_a_message_whose_answer_was_lost_is_sent_again_and_said_once(transport: str) -> None:
    """The line is cut when the server has taken it: the same key gives the same place, and one message."""
    with serving("--transport", transport) as server:
        async with between(server.url) as network, speaking(server.url, name="Ada") as ada:
            async with speaking(network.url, name="Bo") as bo:
                bo.write("send", room="public", key="once", text="did you get this?")
                first = await ada.event("message")
                network.cut()
                back = bo.resume
            async with silent(server.url) as again:
                await again.hello(**back)
                sent = await again.ask("send", room="public", key="once", text="did you get this?")
                assert (sent["mid"], sent["off"], sent["dup"]) == (first["mid"], first["off"], True)
                other = await again.ask("send", room="public", key="once", text="something else")
                assert other["error"]["code"] == "conflict"
            page = await ada.ask("history", room="public")
            assert [one["text"] for one in page["messages"]] == ["did you get this?"]


@pytest.mark.parametrize("transport", ["auto", "asgi"])
async def test_18_a_message_that_never_arrived_is_sent_again_and_said_once(transport: str) -> None:
    """The line swallowed it: under the same key it is said now, and the third time it is known."""
    with serving("--transport", transport) as server:
        async with between(server.url) as network, speaking(server.url, name="Ada") as ada:
            async with speaking(network.url, name="Bo") as bo:
                network.swallows = True
                bo.write("send", room="public", key="once", text="did you get this?")
            async with silent(server.url) as again:
                await again.hello(**bo.resume)
                sent = await again.ask("send", room="public", key="once", text="did you get this?")
                assert "dup" not in sent
                same = await again.ask("send", room="public", key="once", text="did you get this?")
                assert (same["mid"], same["off"], same["dup"]) == (sent["mid"], sent["off"], True)
            page = await ada.ask("history", room="public")
            assert [(one["mid"], one["off"]) for one in page["messages"]] == [(sent["mid"], sent["off"])]


async def test_18_the_same_holds_in_a_booth() -> None:
    """Said, and the line is cut before the answer: who comes back to its seat says it again, and it was said once."""
    with serving() as server:
        async with (
            between(server.url) as network,
            speaking(server.url, "/chat/private") as ada,
            speaking(network.url, "/chat/private") as bo,
        ):
            booth = (await ada.event("match.found"))["room"]
            await bo.event("match.found")
            back = bo.resume
            bo.write("send", room=booth, key="once", text="did you get this?")
            first = await ada.event("message")
            network.cut()
            await ada.event("match.away")
            async with silent(server.url, "/chat/private") as again:
                (place,) = (await again.hello(**back))["rooms"]
                assert (place["recovered"], place["upto"]) == (True, first["off"])
                sent = await again.ask("send", room=booth, key="once", text="did you get this?")
                assert (sent["mid"], sent["off"], sent["dup"]) == (first["mid"], first["off"], True)
                assert await again.event("message") == first
                await again.ask("send", room=booth, key="next", text="good")
                assert (await ada.event("message"))["text"] == "good"


async def resumed_until_whole(server: Server, network: Network, dice: random.Random, cuts: int) -> None:
    """A client's line is cut after a random number of bytes, again and again, while others talk."""
    async with speaking(server.url, name="Ada") as ada:
        said = 0
        session: dict[str, Any] = {"name": "Bo"}
        heard: list[int] = []
        positions: dict[str, tuple[str, int]] = {"public": ada.positions["public"]}
        for _ in range(cuts):
            for _ in range(dice.randrange(6)):
                said += 1
                await ada.ask("send", room="public", key=f"{said}", text=f"{said}" + "x" * dice.randrange(300))
            network.cuts_after = dice.randrange(150, 3000)
            try:
                async with silent(network.url) as bo:
                    bo.positions = dict(positions)
                    welcome = await bo.hello(**session, resume=bo.resume["resume"])
                    assert [place["recovered"] for place in welcome["rooms"]] == [True]
                    session = {"session": bo.session, "name": "Bo"}
                    while len(heard) < said:
                        heard.append((await bo.event("message"))["off"])
                        positions = dict(bo.positions)
            except (ClosedError, OSError, EOFError):
                continue
        network.cuts_after = float("inf")
        async with silent(network.url) as bo:
            bo.positions = dict(positions)
            await bo.hello(**session, resume=bo.resume["resume"])
            while len(heard) < said:
                heard.append((await bo.event("message"))["off"])
        assert heard == list(range(1, said + 1))
        assert "Traceback" not in server.log


async def test_19_a_resume_that_is_cut_anywhere_is_whole_in_the_end() -> None:
    """60 cuts: what is heard over all connections has no gap and nothing twice."""
    with serving() as server:
        async with between(server.url) as network:
            await resumed_until_whole(server, network, random.Random(19), 60)


@pytest.mark.stress
async def test_19_a_thousand_cuts() -> None:
    with serving() as server:
        async with between(server.url) as network:
            await resumed_until_whole(server, network, random.Random(1900), 1000)


@pytest.mark.parametrize("transport", ["auto", "asgi"])
async def test_29_all_are_told_that_the_server_restarts(transport: str) -> None:
    """`reconnect` with a jitter and `bye` come before 4000, and it stops though some read nothing. What was answered
    was heard by all who read."""
    with serving("--transport", transport, "--ping", "600") as server:
        async with AsyncExitStack() as stack:
            ada = await stack.enter_async_context(speaking(server.url))
            others = [await stack.enter_async_context(speaking(server.url)) for _ in range(100)]
            stuck = [await stack.enter_async_context(speaking(server.url, receive_buffer=2048)) for _ in range(10)]
            for one in stuck:
                one.client.stop_reading()
            for number in range(40):
                await ada.ask("send", room="public", key=f"{number}", text="x" * 5000)
            server.signal()
            for one in (ada, *others):
                assert await one.closed() == 4000
                assert sum(event["ev"] == "message" for event in one.events) == 40
                reconnect, bye = one.events[-2:]
                assert (reconnect["ev"], bye["ev"], bye["code"]) == ("reconnect", "bye", 4000)
                assert reconnect["jitter_ms"] > 0
            await asyncio.to_thread(server.exited, STOPS_WITHIN)
        assert "Traceback" not in server.log


@pytest.mark.parametrize("transport", ["auto", "asgi"])
async def test_31_nothing_that_a_client_says_is_logged(transport: str) -> None:
    """Tokens, names, texts, interests, keys: none of it, at the most talkative level."""
    secret = "canary-31"
    with serving("--transport", transport, "-v") as server:
        async with speaking(server.url, name=secret, client={"name": secret, "version": secret}) as ada:
            await ada.ask("send", room="public", key=secret, text=secret)
            await ada.ask("match.find", interests=[secret], key=secret)
            await ada.ask("nonsense", text=secret)
            await ada.ask("block", person=secret)
            token = ada.session
        async with silent(server.url) as again:
            await again.ask("hello", session=token + "x")
            await again.hello(session=token)
        await until_people(server.url, 0)
        server.signal()
        server.exited()
        assert "opened" in server.log
        assert secret not in server.log
        assert token[:20] not in server.log


async def test_40_who_is_blocked_is_never_met() -> None:
    """Over many draws, a change of name and a new connection, though nobody else is there; a third one meets both."""

    async def look_around(one: Speaker) -> None:
        for _ in range(25):
            assert (await one.ask("match.next"))["ok"]

    with serving(before=AT_ONCE) as server:
        async with speaking(server.url, "/chat", name="Ada") as ada, speaking(server.url, "/chat", name="Bo") as bo:
            await ada.ask("match.find")
            await bo.ask("match.find")
            found = await ada.event("match.found")
            assert (await ada.ask("block", person=found["peer"]["id"], room=found["room"]))["ok"]
            assert (await bo.event("match.ended"))["by"] == "peer"
            assert (await bo.ask("name", name="Somebody Else"))["ok"]
            await asyncio.gather(look_around(ada), look_around(bo))
            async with silent(server.url, "/chat") as again:
                await again.hello(session=bo.session, name="Another")
                assert await bo.closed() == 4504
                await asyncio.gather(look_around(ada), look_around(again))
                for one in (ada, bo, again):
                    assert not [event for event in one.events if event["ev"] == "match.found"]
                async with speaking(server.url, "/chat", name="Cy") as cy:
                    met = []
                    for _ in range(2):
                        await cy.ask("match.find")
                        found = await cy.event("match.found")
                        met.append(found["peer"]["name"])
                        await cy.ask("leave", room=found["room"])
                    assert sorted(met) == ["Ada", "Another"]


@pytest.mark.parametrize("transport", ["auto", "asgi"])
async def test_a_page_that_is_loaded_anew_keeps_its_booth(transport: str) -> None:
    """The browser closes with 1001 and comes back: the other one waits, and what was said meanwhile arrives."""
    with serving("--transport", transport) as server:
        async with speaking(server.url, "/chat/private") as ada, speaking(server.url, "/chat/private") as bo:
            booth = (await bo.event("match.found"))["room"]
            bo.client.write(frame(0x88, (1001).to_bytes(2)))
            await ada.event("match.away")
            await ada.ask("send", room=booth, key="k", text="are you there?")
            async with silent(server.url, "/chat/private") as again:
                again.positions = dict(bo.positions)
                welcome = await again.hello(**bo.resume)
                (place,) = welcome["rooms"]
                assert (place["room"], place["recovered"], place["peer"]["name"]) == (booth, True, ada.person["name"])
                assert (await again.event("message"))["text"] == "are you there?"
                await ada.event("match.back")
                await again.ask("leave", room=booth)
                assert (await ada.event("match.ended"))["by"] == "peer"


async def test_a_guest_is_the_same_after_kill_9(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The token still proves the person; the room's numbering is another, and leads on from the one before."""
    folder = str(tmp_path_factory.mktemp("data"))
    script = "import sys; from parlour.cli import main; sys.exit(main(sys.argv[1:]))"
    start = ("-c", script, "serve", "--port", "0", "--data", folder)
    with running(*start) as server:
        async with speaking(server.url, name="Ada") as ada:
            await ada.ask("send", room="public", key="k", text="before")
            server.signal(signal.SIGKILL)
            assert await ada.closed() is None
    with running(*start) as server:
        async with silent(server.url) as again:
            again.positions = {}
            welcome = await again.hello(**ada.resume, name="Ada")
            assert welcome["person"] == ada.person
            (place,) = welcome["rooms"]
            assert place["recovered"] is True
            assert place["epoch"] != ada.positions["public"][0]


@pytest.mark.parametrize("transport", ["auto", "asgi"])
async def test_a_binary_frame_and_ten_errors_end_the_connection(transport: str) -> None:
    """4500, and 4510 behind the tenth answer; `bye` says the same."""
    with serving("--transport", transport) as server:
        for data, code, reason in (
            (frame(BINARY, b"{}"), 4500, BINARY_FRAME.reason),
            (frame(TEXT, b"?") * 10, 4510, TOO_MANY_ERRORS.reason),
        ):
            async with speaking(server.url) as ada:
                ada.client.write(data)
                assert await ada.closed() == code
                assert ada.events[-1] == {
                    "ev": "bye",
                    "code": code,
                    "reason": reason,
                    "reconnect": False,
                }


async def test_heartbeats_where_the_server_sends_no_pings() -> None:
    """On plain ASGI a v1 client is asked by the `ping` event, and one that does not answer is let go."""
    with serving("--transport", "asgi", "--ping", "1", "--ping-timeout", "1") as server:
        async with speaking(server.url) as ada, silent(server.url) as mute:
            mute.answers_pings = False
            hearing = asyncio.create_task(ada.event("never"))
            await mute.hello()
            assert await mute.closed() is None
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            assert (await ada.ask("ping"))["ok"]


async def test_an_address_has_so_many_connections_in_booths_however_they_came() -> None:
    """A search on /chat counts as well as an opening of /chat/private: nobody is the stranger whom all others meet."""
    with serving("--url", "https://chat.example.com") as server:
        async with AsyncExitStack() as stack:
            several = [await stack.enter_async_context(speaking(server.url, "/chat")) for _ in range(11)]
            answers = [await one.ask("match.find") for one in several]
            assert [one["ok"] for one in answers] == [True] * 10 + [False]
            assert answers[-1]["error"]["code"] == "rate_limited"


async def test_the_address_without_a_room_is_for_v1_alone() -> None:
    """A plain client is told so before the upgrade."""
    with serving() as server:
        with pytest.raises(DeniedError) as denied:
            async with connect(server.url, "/chat"):
                pass
        assert denied.value.response.status == 400
        assert "parlour.v1.json" in denied.value.response.text
        async with speaking(server.url, "/chat") as ada:
            assert ada.positions == {}


async def test_who_comes_back_under_another_name_is_told_of() -> None:
    """In a booth, where the other one would else talk with a name that nobody has any more."""
    with serving() as server:
        async with speaking(server.url, "/chat/private") as ada, speaking(server.url, "/chat/private", name="Bo") as bo:
            peer = (await ada.event("match.found"))["peer"]
            bo.client.cut()
            await ada.event("match.away")
            async with silent(server.url, "/chat/private") as again:
                assert (await again.hello(**bo.resume, name="Bob"))["person"]["name"] == "Bob"
                assert (await ada.event("member.renamed"))["member"] == {**peer, "name": "Bob"}

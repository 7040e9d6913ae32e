"""Fault 39: mounted in a plain FastAPI app without lifespan, and on other ASGI servers."""

from collections.abc import Iterator

import pytest

from tests.raw import connect, get
from tests.servers import Server, canary, people, running, until
from tests.speaker import silent, speaking

pytestmark = pytest.mark.anyio

SERVERS = {
    "uvicorn": ("uvicorn", "--port", "0", "--lifespan", "off"),
    "uvicorn, websockets' own": ("uvicorn", "--port", "0", "--ws", "websockets"),
    "uvicorn, wsproto": ("uvicorn", "--port", "0", "--ws", "wsproto"),
    "uvicorn, h11": ("uvicorn", "--port", "0", "--http", "h11"),
    "hypercorn": ("hypercorn", "--bind", "127.0.0.1:0"),
    "granian": ("granian", "--interface", "asgi", "--port", "0"),
}
APPS = ["mounted", "routed", "left_alone", "traced"]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((server, app), id=f"{server}-{app}")
        for server in SERVERS
        for app in (APPS if server in ("uvicorn", "hypercorn") else APPS[:2])
    ],
)
def host(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One app on one server, for the tests below."""
    server, app = request.param
    name, *flags = SERVERS[server]
    with running("-m", name, *flags, f"tests.hosts:{app}") as process:
        yield process
    assert "Traceback" not in process.log
    assert "rror" not in process.log


async def test_two_chat_in_public(host: Server) -> None:
    async with connect(host.url, "/talk/chat/public") as ada, connect(host.url, "/talk/chat/public") as bo:
        for name, one in (("ada", ada), ("bo", bo)) * 10:
            await one.say(name, "hi")
            assert await ada.line() == await bo.line() == f"{name}> hi"
        await ada.leave()
        await bo.say("bo", "alone")
        assert await bo.line() == "bo> alone"


async def test_two_chat_in_a_booth(host: Server) -> None:
    async with canary(host.url, "/talk/chat/private", every=0) as record, connect(host.url, "/talk/chat/public") as ada:
        while len(record.times) < 50:
            await ada.say("ada", "hi")
            assert await ada.line() == "ada> hi"


async def test_two_speak_v1(host: Server) -> None:
    """In public and in a booth; one that loses its line comes back to its seat, and has missed nothing."""
    public, nowhere = "/talk/chat/public", "/talk/chat"
    async with speaking(host.url, public, name="Ada") as ada:
        async with speaking(host.url, public, name="Bo") as bo:
            assert (await ada.ask("send", room="public", key="k1", text="hi"))["ok"]
            assert (await bo.event("message"))["text"] == "hi"
            for one in (ada, bo):
                await one.ask("match.find", interests=["tea"], relax="never")
            booth = (await ada.event("match.found"))["room"]
            await bo.event("match.found")
        await ada.event("match.away")
        assert (await ada.ask("send", room=booth, key="k2", text="are you there?"))["ok"]
        async with silent(host.url, nowhere) as again:
            welcome = await again.hello(**bo.resume)
            assert {place["room"]: place["recovered"] for place in welcome["rooms"]} == {"public": True, booth: True}
            assert (await again.event("message"))["text"] == "are you there?"
            await ada.event("match.back")
            assert (await again.ask("leave", room=booth))["ok"]
        assert (await ada.event("match.ended"))["by"] == "peer"


async def test_a_client_that_crashes_frees_its_seat(host: Server) -> None:
    """The next to come meets the one who was left."""
    async with connect(host.url, "/talk/chat/private") as ada:
        async with connect(host.url, "/talk/chat/private") as bo:
            await bo.say("bo", "hi")
            assert await ada.line() == await bo.line() == "bo> hi"

        async def meets_ada() -> bool:
            async with connect(host.url, "/talk/chat/private") as cy:
                await cy.say("cy", "hi")
                assert await cy.line() == "cy> hi"
                await ada.say("ada", "anyone?")
                heard = [await ada.line()]
                if heard == ["cy> hi"]:
                    heard.append(await ada.line())
                    assert await cy.line() == "ada> anyone?"
                return heard == ["cy> hi", "ada> anyone?"]

        await until(meets_ada, "a seat in ada's booth")


async def test_the_page_is_below_the_prefix(host: Server) -> None:
    """Where the whole chat is mounted; a router brings the two sockets alone."""
    answer = await get(host.url, "/talk/", {"Accept": "text/html"})
    if answer.status == 200:
        assert "<title>" in answer.text
        assert await people(host.url, "/talk") >= 0
    else:
        assert answer.status == 404
        assert "routed" in str(host.process.args)

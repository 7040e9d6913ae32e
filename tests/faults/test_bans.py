"""Who was banned and wants to come back; what the host app hears, and what it must not."""

import asyncio
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from parlour import Parlour, Settings
from parlour.app import HOST
from parlour.core.events import Message


@pytest.mark.parametrize("forwarded", [{}, {"X-Forwarded-For": "1"}, {"X-Forwarded-For": "9.9.9.9, 127.0.0.1"}])
def test_a_header_does_not_lift_a_ban_of_an_address(tmp_path: Path, forwarded: dict[str, str]) -> None:
    chat = Parlour(Settings(data=tmp_path))
    with TestClient(chat, client=("8.8.8.8", 1)) as client:

        async def ban() -> None:
            await chat._at_office(
                lambda office: office.desk.ban_address(HOST, address="8.8.8.8", reason="spam", seconds=None)
            )

        assert client.portal is not None
        client.portal.call(ban)
        with client.websocket_connect("/chat/public", headers=forwarded) as banned:
            assert banned.receive_text() == "! banned: you were banned: spam"
            with pytest.raises(WebSocketDisconnect) as end:
                banned.receive_text()
        assert end.value.code == 4507
    with TestClient(chat, client=("8.8.4.4", 1)) as client, client.websocket_connect("/chat/public") as other:
        other.send_json({"username": "ada", "message": "hi"})
        assert other.receive_text() == "ada> hi"


def test_an_address_behind_which_there_may_be_everybody_is_not_noted(tmp_path: Path) -> None:
    """A ban of a person bans the address that they come from; not that of a proxy which nobody declared."""
    chat = Parlour(Settings(data=tmp_path))
    with TestClient(chat, client=("8.8.8.8", 1)) as client:

        async def ban(person: str) -> int:
            bans = await chat._at_office(lambda office: office.desk.ban(HOST, person=person, reason="", seconds=None))
            return len(bans)

        assert client.portal is not None
        for headers, bans in (({"X-Forwarded-For": "9.9.9.9"}, 1), ({}, 2)):
            with client.websocket_connect("/chat/public", headers=headers) as ada:
                ada.send_json({"username": "ada", "message": "hi"})
                assert ada.receive_text() == "ada> hi"
                assert chat.hub is not None
                (person,) = {link.connection.person for link in chat.hub._links.values()}
                assert client.portal.call(ban, person) == bans


def test_the_host_app_hears_nothing_of_booths() -> None:
    """Also where no message bears a stamp: between plain clients, and of one who is alone."""
    heard: list[str] = []

    def on_message(message: Message) -> None:
        heard.append(message.text)

    chat = Parlour(on_message=on_message)
    client = TestClient(chat)
    with (
        client.websocket_connect("/chat/private") as ada,
        client.websocket_connect("/chat/public") as cy,
    ):
        ada.send_json({"username": "ada", "message": "alone"})
        assert ada.receive_text() == "ada> alone"
        with client.websocket_connect("/chat/private") as bo:
            ada.send_json({"username": "ada", "message": "secret"})
            assert ada.receive_text() == bo.receive_text() == "ada> secret"
        cy.send_json({"username": "cy", "message": "public"})
        assert cy.receive_text() == "cy> public"
        cy.send_json({"username": "cy", "message": "again"})
        assert cy.receive_text() == "cy> again"

        async def settled() -> None:
            async with asyncio.timeout(10):
                while len(heard) < 2:  # noqa: ASYNC110 - a thread of its own tells the host app
                    await asyncio.sleep(0.01)

        asyncio.run(settled())
    assert heard == ["public", "again"]


def test_a_moderator_who_left_is_still_one() -> None:
    """Nobody of a lower role acts on them meanwhile."""
    from parlour import Person

    chat = Parlour(authenticate=lambda connection: Person("17", "Ada", "admin"))
    client = TestClient(chat)
    with client.websocket_connect("/chat/public") as ada:
        ada.send_json({"username": "", "message": "hi"})
        assert ada.receive_text() == "Ada> hi"
        assert chat.hub is not None
        (person,) = {link.connection.person for link in chat.hub._links.values()}
    assert chat.hub.role_of(person) == "admin"
    assert chat.hub.role_of("nobody") is None

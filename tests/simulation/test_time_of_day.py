"""Fault 21: the time of day jumps an hour, either way. Whatever expires does so by another clock."""

import pytest

from parlour.testing import Kit

JUMPS = pytest.mark.parametrize("seconds", [3600.0, -3600.0], ids=["forward", "back"])


@JUMPS
def test_nobody_is_let_go(seconds: float) -> None:
    """Connections, seats that are kept, and searches outlive the jump, and end when they would have ended."""
    kit = Kit()
    ada, bo = kit.v1("ada", "/chat/private"), kit.v1("bo", "/chat/private")
    cy = kit.v1("cy", "/chat/private", match={"interests": ["tea"]})
    plain = kit.public("di")
    since = cy.assert_event("match.waiting", relaxed=[])["since"]
    bo.drop()
    kit.advance(5)
    kit.shift_utc(seconds)
    for client in (ada, cy):
        client.ignored |= {"match.waiting", "match.found", "match.away"}
        client.assert_nothing(for_=0)
    kit.advance(4)
    assert cy.events[-1]["ev"] == "match.waiting"
    kit.advance(2)
    assert cy.events[-1]["relaxed"] == ["interests"]
    assert cy.events[-1]["since"] == since + 1000 * seconds
    kit.advance(40)
    bo = bo.resume()
    ada.assert_event("match.back")
    assert bo.booth == ada.booth is not None
    assert plain.is_connected


@JUMPS
def test_a_session_can_be_resumed(seconds: float) -> None:
    """Also from a token that was made before the jump, and one that comes from the future."""
    kit = Kit()
    ada, bo = kit.v1("ada"), kit.v1("bo")
    bo.send("public", "before")
    kit.advance(1)
    ada.drop()
    kit.shift_utc(seconds)
    bo.send("public", "after")
    kit.advance(1)
    before, ada = ada, ada.resume()
    assert ada.person == before.person
    assert ada.replies[1]["rooms"][0]["recovered"]
    assert ada.assert_event("message", text="after")["off"] == 2


@JUMPS
def test_a_key_is_known_and_an_edit_allowed(seconds: float) -> None:
    """For ten minutes and fifteen, as they have truly passed."""
    kit = Kit()
    ada, bo = kit.v1("ada"), kit.v1("bo")
    first = ada.assert_reply(ada.send("public", "one", key="k"))
    kit.advance(500)
    kit.shift_utc(seconds)
    bo.assert_reply(bo.send("public", "two", key="k"))
    again = ada.assert_reply(ada.send("public", "one", key="k"), dup=True)
    assert (again["mid"], again["off"], again["ts"]) == (first["mid"], first["off"], first["ts"])
    ada.send_command("edit", room="public", mid=first["mid"], text="ONE")
    ada.assert_reply(off=3)
    kit.advance(101)
    assert "dup" not in ada.assert_reply(ada.send("public", "one", key="k"))
    kit.advance(300)
    ada.send_command("edit", room="public", mid=first["mid"], text="one")
    ada.assert_refused("expired")


@JUMPS
def test_the_order_stays(seconds: float) -> None:
    """What is said later stands later, also where its time is earlier."""
    kit = Kit()
    ada = kit.v1("ada")
    for number in range(1, 7):
        ada.send("public", str(number))
        kit.shift_utc(seconds if number == 3 else 0)
        kit.advance(0.001)
    ada.send_command("history", room="public")
    messages = ada.assert_reply()["messages"]
    assert [message["text"] for message in messages] == list("123456")
    times = [message["ts"] for message in messages]
    assert (times == sorted(times)) == (seconds > 0)

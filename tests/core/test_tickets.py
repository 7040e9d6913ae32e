"""Signed texts: good for one purpose, until a time, and not to be made by others."""

import re

import pytest

from parlour.core.keys import Keyring
from parlour.core.tickets import TICKET_LIMIT, Purpose, read, sign

NOW = 1_700_000_000_000
OURS = Keyring({"a": b"a" * 32}, "a")
OTHERS = Keyring({"a": b"b" * 32}, "a")


def test_a_ticket_gives_its_subject_until_its_time() -> None:
    ticket = sign(OURS, "cli", "ada", NOW + 60_000)
    assert read(OURS, "cli", ticket, NOW) == "ada"
    assert read(OURS, "cli", ticket, NOW + 59_999) == "ada"
    assert read(OURS, "cli", ticket, NOW + 60_000) is None


@pytest.mark.parametrize("purpose", ["first", "operator"])
def test_a_ticket_is_good_for_its_purpose_alone(purpose: Purpose) -> None:
    assert read(OURS, purpose, sign(OURS, "cli", "ada", NOW + 1), NOW) is None


def test_another_secret_signs_no_ticket_of_ours() -> None:
    assert read(OURS, "cli", sign(OTHERS, "cli", "ada", NOW + 1), NOW) is None


def test_no_character_of_a_ticket_can_be_changed() -> None:
    ticket = sign(OURS, "cli", "ada", NOW + 1)
    for place, character in enumerate(ticket):
        other = "A" if character != "A" else "B"
        assert read(OURS, "cli", ticket[:place] + other + ticket[place + 1 :], NOW) is None
        assert read(OURS, "cli", ticket[:place], NOW) is None


@pytest.mark.parametrize("junk", ["", ".", "..", "a.b", "\ud800.\udfff", "\x00", "é.a.é", "x" * (TICKET_LIMIT + 1)])
def test_what_is_no_ticket_is_none(junk: str) -> None:
    assert read(OURS, "cli", junk, NOW) is None


def test_a_ticket_of_a_former_secret_is_good_while_that_is_known() -> None:
    both = Keyring({"a": b"a" * 32, "b": b"b" * 32}, "b")
    ticket = sign(OURS, "operator", "ada", NOW + 1)
    assert read(both, "operator", ticket, NOW) == "ada"
    assert read(Keyring({"b": b"b" * 32}, "b"), "operator", ticket, NOW) is None


def test_a_ticket_may_stand_in_a_cookie_and_in_an_address() -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]+", sign(OURS, "first", "Ädä \U0001f600 \n\ud800;", NOW))

"""What the server signs: session tokens, ids for one booth alone, stamps."""

import base64
import hashlib
import hmac
import json
import string
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.core.keys import SECRET_BYTES, SESSION_DAYS, Keyring, Session

NOW: Final = 1_700_000_000_000
DAY_MS: Final = 86_400_000
OLD: Final = bytes(range(32))
NEW: Final = bytes(range(1, 33))
KEYRING: Final = Keyring({"k1": OLD}, "k1")
ADA: Final = Session("s-ada", "p-ada")
ALPHABET: Final = string.ascii_letters + string.digits + "-_."

texts = st.text(st.characters(), max_size=20)


# Session tokens


@given(session=texts, person=texts)
def test_a_token_proves_what_was_signed(session: str, person: str) -> None:
    """Whatever the ids are, lone surrogates too; the token goes into JSON as it is."""
    token = KEYRING.sign_session(Session(session, person), NOW)
    assert set(token) <= set(ALPHABET)
    assert KEYRING.read_session(token, NOW) == Session(session, person)


def test_a_token_is_good_for_thirty_days() -> None:
    """One from the future is fine: the clock was set back."""
    token = KEYRING.sign_session(ADA, NOW)
    assert KEYRING.read_session(token, NOW + SESSION_DAYS * DAY_MS - 1) == ADA
    assert KEYRING.read_session(token, NOW + SESSION_DAYS * DAY_MS) is None
    assert KEYRING.read_session(token, NOW - DAY_MS) == ADA


def signed(*fields: object) -> str:
    """A token as another version of this server signs it."""
    body = base64.urlsafe_b64encode(json.dumps(["k1", *fields, NOW]).encode()).rstrip(b"=")
    key = hmac.digest(OLD, b"parlour session", hashlib.sha256)
    signature = base64.urlsafe_b64encode(hmac.digest(key, body, hashlib.sha256)).rstrip(b"=")
    return f"{body.decode()}.{signature.decode()}"


def test_a_token_from_before_is_good() -> None:
    """It has fewer fields, and proves what it has."""
    assert KEYRING.read_session(signed("s-ada", "p-ada"), NOW) == ADA
    assert KEYRING.read_session(signed("s-ada", "p-ada", True, "Ada"), NOW) == Session("s-ada", "p-ada", True, "Ada")
    whole = Session("s-ada", "p-ada", True, "Ada", "2", "adult")
    assert KEYRING.read_session(KEYRING.sign_session(whole, NOW), NOW) == whole


@pytest.mark.parametrize("fields", [(), ("s-ada",), (*Session("s-ada", "p-ada"), "more")])
def test_a_token_of_another_version_proves_nothing(fields: tuple[object, ...]) -> None:
    """What it says can't be known; its bearer comes in without it."""
    assert KEYRING.read_session(signed(*fields), NOW) is None


def test_any_change_of_a_token_is_refused() -> None:
    """Each character by each other one, one more, one less: there is one spelling of a token."""
    token = KEYRING.sign_session(ADA, NOW)
    for at in range(len(token)):
        for other in ALPHABET.replace(token[at], ""):
            assert KEYRING.read_session(token[:at] + other + token[at + 1 :], NOW) is None, (at, other)
        assert KEYRING.read_session(token[:at] + token[at + 1 :], NOW) is None
    for more in [*ALPHABET, "=", " ", "\n", "\u00e9"]:
        assert KEYRING.read_session(token + more, NOW) is None
        assert KEYRING.read_session(more + token, NOW) is None


def test_the_parts_of_two_tokens_do_not_fit() -> None:
    """Neither one's session with the other's signature."""
    ada, bo = (KEYRING.sign_session(session, NOW).split(".") for session in (ADA, Session("s-bo", "p-bo")))
    assert KEYRING.read_session(f"{ada[0]}.{bo[1]}", NOW) is None


@given(st.one_of(texts, st.text(st.sampled_from(ALPHABET + "="), max_size=200)))
def test_what_is_no_token_is_refused(token: str) -> None:
    """Without an error, whatever it is."""
    assert KEYRING.read_session(token, NOW) is None


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"[]",
        b'["k1"]',
        b'["k1","s","p",1,2]',
        b'{"a":1,"b":2,"c":3,"d":4}',
        b'[["k1"],"s","p",1]',
        b'[null,"s","p",1]',
        b"[" * 3_000,
        b"1" * 3_000,
        b"\xff\xfe",
    ],
)
def test_a_body_of_another_shape_is_refused(body: bytes) -> None:
    """It is read before its signature can be checked: it names the key."""
    text = base64.urlsafe_b64encode(body).rstrip(b"=").decode()
    assert KEYRING.read_session(f"{text}.{text}", NOW) is None


def test_another_servers_token_is_refused() -> None:
    """Though it names a key of the same id."""
    other = Keyring({"k1": NEW}, "k1")
    assert KEYRING.read_session(other.sign_session(ADA, NOW), NOW) is None


def test_a_key_that_is_not_known_is_refused() -> None:
    """It was taken away, or is another server's."""
    other = Keyring({"k2": OLD}, "k2")
    assert KEYRING.read_session(other.sign_session(ADA, NOW), NOW) is None


def test_a_secret_can_take_the_place_of_another() -> None:
    """What the old one signed is good until it is taken away; the new one signs."""
    before = KEYRING.sign_session(ADA, NOW)
    both = Keyring({"k1": OLD, "k2": NEW}, "k2")
    after = both.sign_session(ADA, NOW)
    assert both.read_session(before, NOW) == both.read_session(after, NOW) == ADA
    assert KEYRING.read_session(after, NOW) is None
    assert Keyring({"k2": NEW}, "k2").read_session(after, NOW) == ADA
    assert Keyring({"k2": NEW}, "k2").read_session(before, NOW) is None


def test_a_secret_must_be_there_and_long_enough() -> None:
    """A short one could be guessed."""
    with pytest.raises(ValueError, match="there is no secret 'k2'"):
        Keyring({"k1": OLD}, "k2")
    with pytest.raises(ValueError, match=f"at least {SECRET_BYTES} bytes"):
        Keyring({"k1": OLD, "k2": NEW[:-1]}, "k1")


# Ids


def test_a_person_has_another_id_in_each_booth() -> None:
    """And each person another one in the same booth; the same each time it is asked for."""
    ids = [KEYRING.local_id(booth, person) for booth in ("b1", "b2", "b3") for person in ("p-ada", "p-bo")]
    assert len(set(ids)) == len(ids)
    assert KEYRING.local_id("b1", "p-ada") == ids[0]
    assert not any("ada" in id for id in ids)


def test_joined_parts_are_told_apart() -> None:
    """Where one ends and the next begins is part of what is signed."""
    ids = {KEYRING.local_id(booth, person) for booth, person in [("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc")]}
    assert len(ids) == 4


def test_a_user_of_the_host_app_has_an_id_that_tells_nothing() -> None:
    """The host's own may be an address. It is the same each time, and another on another server."""
    id = KEYRING.person_id("ada@example.org")
    assert id == KEYRING.person_id("ada@example.org") != KEYRING.person_id("bo@example.org")
    assert "ada" not in id
    assert Keyring({"k1": NEW}, "k1").person_id("ada@example.org") != id


def test_an_id_for_one_purpose_is_none_for_another() -> None:
    """Each purpose has a key of its own."""
    assert KEYRING.person_id("p-ada") not in (KEYRING.local_id("p-ada", ""), KEYRING.local_id("", "p-ada"))


# Stamps


def stamp(
    booth: str = "b1",
    members: tuple[str, str] = ("p-ada", "p-bo"),
    mid: str = "m1",
    off: int = 1,
    sender: str = "p-ada",
    ts: int = NOW,
    text: str = "hello",
    previous: str = "",
    keyring: Keyring = KEYRING,
) -> str:
    return keyring.stamp(booth, members, mid, off, sender, ts, text, previous)


def test_a_stamp_changes_with_each_thing_that_it_proves() -> None:
    """Also with what moves from one part into the next."""
    stamps = [
        stamp(),
        stamp(booth="b2"),
        stamp(members=("p-ada", "p-cy")),
        stamp(mid="m2"),
        stamp(off=2),
        stamp(sender="p-bo"),
        stamp(ts=NOW + 1),
        stamp(text="hello "),
        stamp(previous="x"),
        stamp(keyring=Keyring({"k1": NEW}, "k1")),
        stamp(keyring=Keyring({"k2": OLD}, "k2")),
        stamp(mid="m11", off=1),
        stamp(mid="m1", off=11),
    ]
    assert len(set(stamps)) == len(stamps)


def test_the_two_have_no_order() -> None:
    """Both see the same stamp, whoever came first."""
    assert stamp(members=("p-bo", "p-ada")) == stamp()


def test_a_stamp_can_be_computed_by_others() -> None:
    """From the secret, HMAC-SHA256 and nothing else: what is kept can be checked without this code."""
    key = hmac.digest(OLD, b"parlour stamp", hashlib.sha256)
    digest = hashlib.sha256("h\u00e9llo".encode()).hexdigest()
    parts = ["b1", "p-ada", "p-bo", "m1", "7", "p-bo", str(NOW), digest, "k1.before"]
    data = b"".join(len(part).to_bytes(4, "big") + part.encode() for part in parts)
    expected = base64.urlsafe_b64encode(hmac.digest(key, data, hashlib.sha256)[:24]).decode().rstrip("=")
    assert stamp(off=7, sender="p-bo", text="h\u00e9llo", previous="k1.before") == f"k1.{expected}"

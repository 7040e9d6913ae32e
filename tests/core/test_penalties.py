"""Who may do what, and who may not any more."""

from typing import Literal, NamedTuple, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.core.events import Role
from parlour.core.keys import Keyring
from parlour.core.penalties import (
    ACTIONS,
    ROLES,
    Action,
    Mode,
    Penalties,
    Turns,
    address_prefix,
    may,
)
from parlour.errors import Refusal

KEYS = Keyring({"1": b"s" * 32}, "1")


class Ban(NamedTuple):
    subject: str
    until_ms: int | None = None
    reason: str = ""
    kind: Literal["person", "address"] = "person"


class Mute(NamedTuple):
    person: str
    room: str | None = None
    until_ms: int | None = None
    reason: str = ""


def code(refusal: Refusal | None) -> str | None:
    return None if refusal is None else refusal.code


# Roles


def test_every_action_has_its_role() -> None:
    assert set(ACTIONS) == set(get_args(Action))
    assert set(ROLES) == set(get_args(Role))


def test_each_role_may_what_those_below_it_may() -> None:
    counts = [sum(may(role, action) for action in ACTIONS) for role in ROLES]
    assert counts == [2, 2, 13, 16]
    for action in ACTIONS:
        allowed = [may(role, action) for role in ROLES]
        assert allowed == sorted(allowed)
        assert allowed[-1]
        assert may("moderator", action) is not action.startswith("admin.")
        assert may("user", action) is (action in ("speak", "report"))


def test_nobody_acts_against_an_equal() -> None:
    """Not even an admin: moderators and admins are made and unmade by `admin.roles`."""
    assert may("moderator", "mod.ban", "user")
    assert not may("moderator", "mod.ban", "moderator")
    assert not may("moderator", "mod.mute", "admin")
    assert may("admin", "mod.ban", "moderator")
    assert not may("admin", "mod.ban", "admin")
    assert not may("user", "mod.ban", "guest")


def test_an_action_that_is_not_listed_is_an_error() -> None:
    with pytest.raises(KeyError):
        may("admin", "mod.dance")  # type: ignore[arg-type]


# Bans


def test_a_person_is_banned_until_the_time_is_over() -> None:
    penalties = Penalties([Ban("p-ada", until_ms=5000, reason="threats")])
    refusal = penalties.may_connect("p-ada", None, 4000)
    assert refusal == Refusal("banned", "you were banned: threats", retry=True, retry_after_ms=1000)
    assert penalties.may_connect("p-ada", None, 5000) is None
    assert penalties.may_connect("p-bo", None, 4000) is None
    assert penalties.may_connect(None, None, 4000) is None


def test_a_ban_without_an_end_can_not_be_waited_for() -> None:
    assert Penalties([Ban("p-ada")]).may_connect("p-ada", None, 1 << 50) == Refusal("banned", "you were banned")


def test_an_address_is_banned_under_any_name() -> None:
    home = KEYS.address_hash("93.184.215.14")
    penalties = Penalties([Ban(home, 5000, kind="address")])
    assert code(penalties.may_connect("p-new", home, 0)) == "banned"
    assert code(penalties.may_connect(None, home, 0)) == "banned"
    assert penalties.may_connect("p-new", KEYS.address_hash("93.184.215.15"), 0) is None


def test_the_longest_of_several_counts() -> None:
    for bans in ([Ban("p", until_ms=9), Ban("p", until_ms=5)], [Ban("p", until_ms=5), Ban("p", until_ms=9)]):
        assert code(Penalties(bans).may_connect("p", None, 7)) == "banned"
    assert code(Penalties([Ban("p"), Ban("p", until_ms=5)]).may_connect("p", None, 7)) == "banned"


def test_who_is_banned_does_not_speak_either() -> None:
    """A connection may outlive the ban by a moment."""
    assert code(Penalties([Ban("p-ada")]).may_speak("p-ada", "public", "user", 0)) == "banned"


def test_a_ban_whose_subject_was_forgotten_meets_nobody() -> None:
    penalties = Penalties([Ban(""), Ban("", kind="address")])
    assert penalties.may_connect("", "", 0) is None


def test_a_person_is_no_address() -> None:
    penalties = Penalties([Ban("same", kind="address")])
    assert penalties.may_connect("same", "other", 0) is None
    assert penalties.may_speak("same", "public", "guest", 0) is None


# Mutes and modes


def test_a_mute_is_for_a_room_or_for_all() -> None:
    penalties = Penalties(mutes=[Mute("p-ada", "public", 5000), Mute("p-bo", None, 3000, "caps")])
    assert code(penalties.may_speak("p-ada", "public", "guest", 4999)) == "muted"
    assert penalties.may_speak("p-ada", "booth-1", "guest", 0) is None
    refusal = penalties.may_speak("p-bo", "booth-1", "guest", 1000)
    assert refusal == Refusal("muted", "you may read but not speak here: caps", retry=True, retry_after_ms=2000)
    assert penalties.may_speak("p-bo", "booth-1", "guest", 3000) is None
    assert penalties.may_connect("p-bo", None, 0) is None, "who is muted may read"


def test_a_mute_holds_for_moderators_too() -> None:
    assert code(Penalties(mutes=[Mute("p-ada")]).may_speak("p-ada", "public", "moderator", 0)) == "muted"


def test_in_a_locked_room_only_moderators_speak() -> None:
    penalties = Penalties(modes={"public": Mode(locked=True)})
    assert [code(penalties.may_speak("p", "public", role, 0)) for role in ROLES] == ["locked", "locked", None, None]
    assert penalties.may_speak("p", "other", "guest", 0) is None


def test_in_a_slow_room_each_one_waits() -> None:
    penalties, turns = Penalties(modes={"public": Mode(slow_ms=30_000)}), Turns()

    def speak(person: str, now_ms: int, role: Role = "guest") -> Refusal | None:
        refusal = penalties.may_speak(person, "public", role, now_ms, last_ms=turns.last(person, "public"))
        if refusal is None:
            turns.spoke(person, "public", penalties.slow_ms("public"), now_ms)
        return refusal

    assert speak("p-ada", 0) is None
    refusal = speak("p-ada", 10_000)
    assert refusal is not None
    assert (refusal.code, refusal.retry, refusal.retry_after_ms) == ("rate_limited", True, 20_000)
    assert speak("p-bo", 10_000) is None
    assert speak("p-ada", 30_000) is None
    assert speak("p-mod", 30_000, "moderator") is None
    assert speak("p-mod", 30_001, "moderator") is None
    set_back = speak("p-ada", 0)
    assert set_back is not None
    assert set_back.retry_after_ms == 30_000


def test_of_those_whose_turn_came_nothing_is_kept() -> None:
    turns = Turns()
    turns.spoke("p", "calm", 0, 0)
    assert turns.last("p", "calm") is None
    for n in range(1000):
        turns.spoke(f"p{n}", "public", 1000, n * 100)
    assert len(turns._last["public"]) == 10
    turns.spoke("p", "public", 0, 100_000)
    assert not turns._last


def test_nothing_is_what_most_servers_have() -> None:
    penalties = Penalties(modes={"public": Mode()})
    assert penalties.may_connect("p", "hash", 0) is None
    assert penalties.may_speak("p", "public", "guest", 0, last_ms=0) is None
    assert penalties.next_expiry(0) is None
    assert penalties.slow_ms("public") == 0


@given(st.lists(st.none() | st.integers(0, 100)), st.lists(st.none() | st.integers(0, 100)), st.integers(0, 100))
def test_between_now_and_the_next_expiry_nothing_changes(
    bans: list[int | None], mutes: list[int | None], now: int
) -> None:
    """And at each expiry something does, if no longer one is for the same."""
    penalties = Penalties(
        [Ban(f"b{n}", until_ms=until) for n, until in enumerate(bans)],
        [Mute(f"m{n}", "public", until) for n, until in enumerate(mutes)],
    )

    def verdicts(at: int) -> list[str | None]:
        people = [*(f"b{n}" for n in range(len(bans))), *(f"m{n}" for n in range(len(mutes)))]
        return [code(penalties.may_speak(person, "public", "guest", at)) for person in people]

    expiry = penalties.next_expiry(now)
    assert verdicts(now) == verdicts(101 if expiry is None else expiry - 1)
    assert expiry is None or verdicts(now) != verdicts(expiry)


# Addresses


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("93.184.215.14", "93.184.215.14"),
        ("::ffff:93.184.215.14", "93.184.215.14"),
        ("64:ff9b::5db8:d70e", "93.184.215.14"),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", "2606:2800:21f:cb07::/64"),
        ("2606:2800:21f:cb07::1", "2606:2800:21f:cb07::/64"),
        ("2606:2800:21f:cb07::/64", "2606:2800:21f:cb07::/64"),
        ("2606:2800:21f:cb08::1", "2606:2800:21f:cb08::/64"),
    ],
)
def test_a_ban_covers_what_one_customer_has(address: str, prefix: str) -> None:
    assert address_prefix(address) == prefix
    assert address_prefix(prefix) == prefix


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.1.1", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
        *("::1", "::", "fe80::1%eth0", "fd00::1", "ff02::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2001:db8::1"),
        *("unknown", "", "1.2.3", "example.org"),
    ],
)
def test_what_many_may_share_is_never_banned(address: str) -> None:
    assert address_prefix(address) is None


def test_the_hash_of_an_address_is_this_server_s_and_stays() -> None:
    """Another server makes another one; a new secret that signs does not change it."""
    prefix = "93.184.215.14"
    hashed = KEYS.address_hash(prefix)
    assert Keyring({"1": b"s" * 32, "2": b"t" * 32}, "2").address_hash(prefix) == hashed
    assert Keyring({"1": b"t" * 32}, "1").address_hash(prefix) != hashed
    assert KEYS.person_id(prefix) != hashed
    assert len(hashed) == 16

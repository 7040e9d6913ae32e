"""Operators, their sessions, the first link and tokens, on a real store."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from parlour.core.records import ApiToken, Operator, Setting
from parlour.desk import Conflict, NotFound, Wrong
from parlour.operators import (
    CLI,
    HASHES_WAITING,
    SESSION_SECONDS,
    SIGN_IN_BURST,
    USED_MS,
    NotSignedIn,
    Operators,
    TooMany,
)
from parlour.store.sql import SqlStore
from tests.web.office import PASSWORD, Clock, Hasher, operators_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hasher() -> Hasher:
    return Hasher()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[SqlStore]:
    store = SqlStore(tmp_path / "parlour.db", utc_ms=clock.utc_ms)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def operators(store: SqlStore, clock: Clock, hasher: Hasher) -> Operators:
    return operators_of(store, clock, hasher)


async def make(operators: Operators, name: str = "ada", role: str = "admin") -> Operator:
    return await operators.make_operator(CLI, name=name, password=PASSWORD, role=role)  # type: ignore[arg-type]


# Passwords


def test_passwords_are_hashed_as_rfc_9106_says() -> None:
    """Argon2id with 64 MiB, three passes and four lanes: its second choice, for little memory."""
    parameters = extract_parameters(PasswordHasher().hash(PASSWORD))
    assert (parameters.type, parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (
        Type.ID,
        64 * 1024,
        3,
        4,
    )


async def test_who_knows_the_password_has_a_session(operators: Operators) -> None:
    ada = await make(operators)
    asker, ticket = await operators.sign_in("ada", PASSWORD, "here")
    assert asker.actor == (f"operator:{ada.id}", "admin")
    assert asker.csrf
    assert await operators.session(ticket) == asker


@pytest.mark.parametrize(
    ("name", "password"), [("ada", PASSWORD + "!"), ("bo", PASSWORD), ("", ""), ("a\x00", "\ud800")]
)
async def test_who_does_not_know_it_has_none(operators: Operators, name: str, password: str) -> None:
    """And is not told whether there is such a name."""
    await make(operators)
    with pytest.raises(NotSignedIn, match="this is not the name and password of an operator"):
        await operators.sign_in(name, password, "here")


async def test_an_unknown_name_costs_as_much_as_a_known_one(operators: Operators, hasher: Hasher) -> None:
    await make(operators)
    with pytest.raises(NotSignedIn):
        await operators.sign_in("cy", "wrong password", "here")  # makes the hash that unknown names are compared with
    counts = []
    for name in ("ada", "cy", "x" * 1000):
        before = hasher.count
        with pytest.raises(NotSignedIn):
            await operators.sign_in(name, "wrong password", "here")
        counts.append(hasher.count - before)
    assert counts == [1, 1, 1]


@pytest.mark.parametrize(
    ("typed", "same"), [("Ada", "aDA"), ("\ufb01n", "FIN"), ("Stra\u00dfe", "strasse"), ("A\u030a", "\u00e5")]
)
async def test_names_that_differ_in_case_alone_are_one(operators: Operators, typed: str, same: str) -> None:
    await make(operators, typed)
    with pytest.raises(Conflict):
        await make(operators, same)
    assert await operators.sign_in(same, PASSWORD, "here")


@pytest.mark.parametrize("name", ["", " ", "a b", "a\n", "x" * 65, "<b>", "\ud800"])
async def test_a_name_is_a_word(operators: Operators, name: str) -> None:
    with pytest.raises(Wrong) as raised:
        await make(operators, name)
    assert raised.value.field == "name"


@pytest.mark.parametrize("password", ["x" * 11, "x" * 201])
async def test_a_password_has_12_to_200_characters(operators: Operators, password: str) -> None:
    with pytest.raises(Wrong) as raised:
        await operators.make_operator(CLI, name="ada", password=password, role="admin")
    assert raised.value.field == "password"


async def test_a_password_is_the_same_however_it_is_typed(operators: Operators) -> None:
    """Keyboards differ in how they make an accented letter."""
    await operators.make_operator(CLI, name="ada", password="e\u0301" * 12, role="admin")
    assert await operators.sign_in("ada", "\u00e9" * 12, "here")


async def test_a_hash_with_old_parameters_is_made_anew_at_sign_in(store: SqlStore, clock: Clock) -> None:
    await make(operators_of(store, clock, Hasher(1)))
    newer = operators_of(store, clock, Hasher(2))
    _, ticket = await newer.sign_in("ada", PASSWORD, "here")
    (ada,) = await newer.operators()
    assert extract_parameters(ada.password_hash).time_cost == 2
    assert await newer.session(ticket)


# Limits


async def test_fifty_attempts_are_refused_before_they_cost_anything(operators: Operators, hasher: Hasher) -> None:
    await make(operators)
    before = hasher.count
    waits = []
    for _ in range(50):
        try:
            await operators.sign_in("ada", "wrong password", "here")
        except TooMany as error:
            waits.append(error.retry_after)
        except NotSignedIn:
            pass
    assert len(waits) == 50 - SIGN_IN_BURST
    assert all(0 < wait <= 10 for wait in waits)
    assert hasher.count - before == SIGN_IN_BURST + 1  # and the one that stands for unknown names


async def test_an_account_is_limited_from_everywhere_and_an_address_for_all_accounts(operators: Operators) -> None:
    await make(operators)
    for number in range(SIGN_IN_BURST):
        with pytest.raises(NotSignedIn):
            await operators.sign_in("ADA", "wrong password", f"address {number}")
        with pytest.raises(NotSignedIn):
            await operators.sign_in(f"x{number}", "wrong password", "there")
    with pytest.raises(TooMany):
        await operators.sign_in("ada", PASSWORD, "elsewhere")
    with pytest.raises(TooMany):
        await operators.sign_in("y", PASSWORD, "there")


async def test_after_ten_seconds_there_is_another_attempt(operators: Operators, clock: Clock) -> None:
    await make(operators)
    for _ in range(SIGN_IN_BURST):
        with pytest.raises(NotSignedIn):
            await operators.sign_in("ada", "wrong password", "here")
    clock.seconds += 9.9
    with pytest.raises(TooMany):
        await operators.sign_in("ada", PASSWORD, "here")
    clock.seconds += 0.1
    assert await operators.sign_in("ada", PASSWORD, "here")


async def test_what_is_refused_is_not_remembered(operators: Operators) -> None:
    """Memory is bounded by what can be hashed, not by what can be asked."""
    await make(operators)
    for _ in range(SIGN_IN_BURST):
        with pytest.raises(NotSignedIn):
            await operators.sign_in("ada", "wrong password", "here")
    for number in range(20_000):
        with pytest.raises(TooMany):
            await operators.sign_in("ada", "wrong password", f"address {number}")
        with pytest.raises(TooMany):
            await operators.sign_in(f"name{number}", "wrong password", "here")
    assert len(operators._accounts) + len(operators._addresses) <= 2 * 1024


async def test_few_wait_for_a_hash_at_a_time(operators: Operators, hasher: Hasher) -> None:
    await make(operators)
    before = hasher.count
    attempts = [operators.sign_in(f"name{number}", "wrong password", f"address {number}") for number in range(100)]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {NotSignedIn, TooMany}
    assert hasher.count - before <= 2 * HASHES_WAITING


# Sessions


async def test_a_session_lasts_twelve_hours(operators: Operators, clock: Clock) -> None:
    await make(operators)
    _, ticket = await operators.sign_in("ada", PASSWORD, "here")
    clock.seconds += SESSION_SECONDS - 1
    assert await operators.session(ticket)
    clock.seconds += 1
    with pytest.raises(NotSignedIn):
        await operators.session(ticket)


@pytest.mark.parametrize("change", [{"password": "another password"}, {"disabled": True}])
async def test_another_password_or_none_ends_the_sessions_at_once(
    operators: Operators, change: dict[str, object]
) -> None:
    await make(operators)
    bo = await make(operators, "bo", "moderator")
    _, ticket = await operators.sign_in("bo", PASSWORD, "here")
    await operators.change_operator(CLI, bo.id, **change)  # type: ignore[arg-type]
    with pytest.raises(NotSignedIn):
        await operators.session(ticket)
    with pytest.raises(NotSignedIn):
        await operators.sign_in("bo", PASSWORD, "here")


async def test_another_role_holds_for_the_sessions_that_there_are(operators: Operators) -> None:
    await make(operators)
    bo = await make(operators, "bo", "admin")
    _, ticket = await operators.sign_in("bo", PASSWORD, "here")
    await operators.change_operator(CLI, bo.id, role="moderator")
    assert (await operators.session(ticket)).actor.role == "moderator"


async def test_who_signs_out_ends_this_session_and_no_other(operators: Operators, clock: Clock) -> None:
    await make(operators)
    _, ticket = await operators.sign_in("ada", PASSWORD, "here")
    _, other = await operators.sign_in("ada", PASSWORD, "there")
    operators.sign_out(ticket)
    operators.sign_out("nonsense")
    with pytest.raises(NotSignedIn):
        await operators.session(ticket)
    assert await operators.session(other)
    clock.seconds += SESSION_SECONDS - 1
    operators.sign_out(other)
    clock.seconds += 1
    _, last = await operators.sign_in("ada", PASSWORD, "here")
    operators.sign_out(last)
    assert len(operators._signed_out) == 2  # those whose time is over are forgotten


async def test_sessions_have_different_marks(operators: Operators) -> None:
    await make(operators)
    one, _ = await operators.sign_in("ada", PASSWORD, "here")
    other, _ = await operators.sign_in("ada", PASSWORD, "here")
    assert one.csrf != other.csrf


# Changes


async def test_the_last_admin_stays_one(operators: Operators) -> None:
    ada = await make(operators)
    await make(operators, "bo", "moderator")
    for change in ({"role": "moderator"}, {"disabled": True}):
        with pytest.raises(Conflict):
            await operators.change_operator(CLI, ada.id, **change)
    await make(operators, "cy")
    assert (await operators.change_operator(CLI, ada.id, disabled=True)).disabled


async def test_two_admins_who_end_each_other_at_once_leave_one(operators: Operators) -> None:
    ada, bo = await make(operators), await make(operators, "bo")
    outcomes = await asyncio.gather(
        operators.change_operator(CLI, ada.id, disabled=True),
        operators.change_operator(CLI, bo.id, disabled=True),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "Operator"]


@pytest.mark.parametrize("id", ["", "none", "\ud800", "x" * 1000])
async def test_there_is_no_such_operator_or_token(operators: Operators, id: str) -> None:
    with pytest.raises(NotFound):
        await operators.change_operator(CLI, id, disabled=True)
    with pytest.raises(NotFound):
        await operators.revoke_token(CLI, id)


async def test_what_was_done_stands_in_the_log_without_names_and_secrets(operators: Operators, store: SqlStore) -> None:
    ada = await make(operators)
    await operators.change_operator(CLI, ada.id, password="another password")
    token, _ = await operators.make_token(CLI, name="backup", scopes=["read", "send", "read"], seconds=60)
    await operators.revoke_token(CLI, token.id)
    entries = [(entry.actor, entry.action, entry.subject, json.loads(entry.details)) for entry in await store.audited()]
    assert entries[::-1] == [
        ("cli", "operator.make", ada.id, {"role": "admin"}),
        ("cli", "operator.change", ada.id, {"password": True}),
        ("cli", "token.make", token.id, {"scopes": ["read", "send"], "seconds": 60}),
        ("cli", "token.revoke", token.id, {}),
    ]


async def test_a_change_that_changes_nothing_is_not_in_the_log(operators: Operators, store: SqlStore) -> None:
    ada = await make(operators)
    await operators.change_operator(CLI, ada.id, role="admin", disabled=False)
    assert len(await store.audited()) == 1


# The first link


async def test_the_link_makes_an_admin_once(operators: Operators, store: SqlStore) -> None:
    assert not await operators.has_any()
    link = await operators.first_link()
    asker, ticket = await operators.first(link, "Ada", PASSWORD)
    assert (asker.name, asker.actor.role) == ("ada", "admin")
    assert await operators.session(ticket)
    assert await operators.has_any()
    with pytest.raises(NotSignedIn):
        await operators.first(link, "bo", PASSWORD)
    assert not await store.select(Setting)
    assert [entry.action for entry in await store.audited()] == ["operator.first"]


async def test_of_two_who_use_the_link_at_once_one_wins(operators: Operators) -> None:
    link = await operators.first_link()
    outcomes = await asyncio.gather(
        operators.first(link, "ada", PASSWORD), operators.first(link, "bo", PASSWORD), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NotSignedIn", "SignedIn"]
    assert len(await operators.operators()) == 1


async def test_another_link_voids_the_one_before(operators: Operators) -> None:
    old = await operators.first_link()
    new = await operators.first_link()
    with pytest.raises(NotSignedIn):
        await operators.first(old, "ada", PASSWORD)
    assert await operators.first(new, "ada", PASSWORD)


async def test_a_link_is_good_for_a_day(operators: Operators, clock: Clock) -> None:
    link = await operators.first_link()
    clock.seconds += 86_400
    with pytest.raises(NotSignedIn):
        await operators.first(link, "ada", PASSWORD)


async def test_a_mistake_does_not_use_the_link_up(operators: Operators) -> None:
    await make(operators, "bo")
    link = await operators.first_link()
    for name, password in (("", PASSWORD), ("ada", "short"), ("BO", PASSWORD)):
        with pytest.raises(Wrong):
            await operators.first(link, name, password)
    assert await operators.first(link, "ada", PASSWORD)


async def test_no_password_is_hashed_for_who_has_no_link(operators: Operators, hasher: Hasher) -> None:
    with pytest.raises(NotSignedIn):
        await operators.first("nonsense", "ada", PASSWORD)
    assert hasher.count == 0


# Tokens


async def test_of_a_token_only_a_hash_is_kept(operators: Operators, store: SqlStore) -> None:
    token, secret = await operators.make_token(CLI, name=" the  backup ", scopes=["read"], seconds=60)
    assert secret.startswith("ptk_")
    assert len(secret) == 4 + 64
    (kept,) = await store.select(ApiToken)
    assert kept == token
    assert secret not in repr(kept)
    assert (token.name, token.until_ms) == ("the backup", token.created_ms + 60_000)
    asker = await operators.bearer(secret)
    assert (asker.actor.id, asker.name, asker.scopes, asker.csrf) == (f"token:{token.id}", "the backup", {"read"}, None)


@pytest.mark.parametrize(
    ("scopes", "role"),
    [(["read", "send"], "user"), (["kick"], "moderator"), (["moderate", "read"], "moderator"), (["admin"], "admin")],
)
async def test_a_token_acts_in_the_lowest_role_that_its_scopes_need(
    operators: Operators, scopes: list[str], role: str
) -> None:
    _, secret = await operators.make_token(CLI, name="bot", scopes=scopes, seconds=None)  # type: ignore[arg-type]
    assert (await operators.bearer(secret)).actor.role == role


@pytest.mark.parametrize("name", ["", " ", "a\nb\x00", "x" * 65])
async def test_a_token_has_a_name_of_one_line(operators: Operators, name: str) -> None:
    with pytest.raises(Wrong):
        await operators.make_token(CLI, name=name, scopes=["read"], seconds=None)


async def test_the_last_use_of_a_token_is_noted_once_a_minute(
    operators: Operators, store: SqlStore, clock: Clock
) -> None:
    _, secret = await operators.make_token(CLI, name="bot", scopes=["read"], seconds=None)

    async def noted() -> int | None:
        await operators.bearer(secret)
        return next(iter(await store.select(ApiToken))).last_used_ms

    first = clock.utc_ms()
    assert await noted() == first
    clock.seconds += USED_MS / 1000 - 1
    assert await noted() == first
    clock.seconds += 1
    assert await noted() == first + USED_MS


async def test_a_token_that_is_revoked_while_it_is_used_stays_so(operators: Operators, store: SqlStore) -> None:
    token, secret = await operators.make_token(CLI, name="bot", scopes=["read"], seconds=None)
    uses = [operators.bearer(secret) for _ in range(5)]
    await asyncio.gather(*uses[:2], operators.revoke_token(CLI, token.id), *uses[2:], return_exceptions=True)
    assert not await store.select(ApiToken)


class Held(Hasher):
    """Waits with its second hash until it may go on."""

    def __init__(self) -> None:
        super().__init__(time_cost=2)
        self.hashes = 0
        self.waits, self.may_go_on = asyncio.Event(), threading.Event()
        self.loop = asyncio.get_running_loop()

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.hashes += 1
        if self.hashes == 2:
            self.loop.call_soon_threadsafe(self.waits.set)
            self.may_go_on.wait(30)
        return super().hash(password, salt=salt)


async def test_who_is_disabled_while_signing_in_stays_so(store: SqlStore, clock: Clock) -> None:
    """The password that is hashed anew must not bring back what was there before."""
    ada = await make(operators_of(store, clock, Hasher(1)))
    held = Held()
    newer = operators_of(store, clock, held)
    signing_in = asyncio.ensure_future(newer.sign_in("ada", PASSWORD, "here"))
    await held.waits.wait()
    await store.put(replace(ada, disabled=True))
    held.may_go_on.set()
    with pytest.raises(NotSignedIn):
        await signing_in
    assert (await newer.operators())[0].disabled

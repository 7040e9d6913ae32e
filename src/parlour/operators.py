"""Operators, their passwords, sessions and API tokens: who may ask the HTTP API for something.

A password is kept as an Argon2id hash (RFC 9106), which takes 64 MiB and a moment to make: it is made in a thread, two
at a time, after the limits were asked. A session is a signed ticket bound to the password, so that another password, or
none, ends it. Of an API token only the SHA-256 is kept: it is random, so nobody can try them all.
"""

import asyncio
import json
import re
import secrets
import time
import unicodedata
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar, cast

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from parlour.core.events import Role
from parlour.core.keys import Keyring
from parlour.core.moderation import Budgets
from parlour.core.records import ApiToken, Operator, Setting
from parlour.core.tickets import read, sign
from parlour.desk import Actor, Conflict, NotFound, Wrong
from parlour.errors import ParlourError
from parlour.store import Store, StoreError

PASSWORD_LEAST: Final = 12
PASSWORD_MOST: Final = 200
"""Characters of a password."""

NAME_LIMIT: Final = 64
OPERATORS_LIMIT: Final = 200
TOKENS_LIMIT: Final = 200

SESSION_SECONDS: Final = 12 * 3600
FIRST_SECONDS: Final = 24 * 3600
"""How long the link for the first admin is good."""

SIGN_IN_RATE: Final = 0.1
SIGN_IN_BURST: Final = 5
"""Attempts a second and at once: of one account, and of one address."""

HASHES: Final = 2
HASHES_WAITING: Final = 16
"""Passwords that are hashed at a time, and that are hashed or wait for it, at most."""

USED_MS: Final = 60_000
"""The last use of a token is noted at most once in this time."""

TOKEN_PREFIX: Final = "ptk_"  # noqa: S105 - lets a scanner know what it found

OperatorRole: TypeAlias = Literal["moderator", "admin"]
Scope: TypeAlias = Literal["read", "send", "kick", "moderate", "rooms", "admin"]

CLI: Final = Actor("cli", "admin")

_FIRST: Final = "first"  # the key of its `Setting`
_TOKEN_BYTES: Final = 32
_NAME = re.compile(rf"[\w.@+-]{{1,{NAME_LIMIT}}}")
_ID = re.compile("[a-z0-9]{1,64}")
_BUSY_SECONDS: Final = 1.0
_NOBODY: Final = "sign in first, or send a token that is good"
_NO_LINK: Final = "the link is used, or too old; `parlour admin link` prints another"
_NO_OPERATOR: Final = "this is not the name and password of an operator"

_T = TypeVar("_T")


class NotSignedIn(ParlourError):  # noqa: N818 - named for the state, as Disconnected
    """Who asks is nobody that we know. The words do not tell why: names and tokens are not to be found out."""


class TooMany(ParlourError):  # noqa: N818
    """Too many attempts; the next one is looked at in `retry_after` seconds."""

    def __init__(self, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__("too many attempts to sign in; wait a while")


class Asker(NamedTuple):
    """Who asks. `scopes` are those of an API token, None for anybody else, who may do what the role may. `csrf` is what
    a request of this session must bring that changes something, None where there is no session."""

    actor: Actor
    name: str
    scopes: Collection[str] | None = None
    csrf: str | None = None


class SignedIn(NamedTuple):
    """A new session: who, and the ticket for the cookie, good for `SESSION_SECONDS`."""

    asker: Asker
    ticket: str


class Operators:
    """See above. All methods run in the hub's loop, where the store was opened; they raise `store.StoreError`."""

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        *,
        utc_ms: Callable[[], int],
        now: Callable[[], float] = time.monotonic,
        token_bytes: Callable[[int], bytes] = secrets.token_bytes,
        hasher: PasswordHasher | None = None,
    ) -> None:
        """`now` gives seconds that never go back. `hasher` None has the parameters of RFC 9106 for little memory."""
        self._store = store
        self._keyring = keyring
        self._utc_ms = utc_ms
        self._now = now
        self._token_bytes = token_bytes
        self._hasher = hasher or PasswordHasher()
        self._dummy: str | None = None  # a hash of no password: unknown names cost as much as known ones
        self._hashing = asyncio.Semaphore(HASHES)
        self._hashes = 0  # that are made, or wait for it
        self._accounts = Budgets(SIGN_IN_RATE, SIGN_IN_BURST)
        self._addresses = Budgets(SIGN_IN_RATE, SIGN_IN_BURST)
        self._signed_out: dict[str, int] = {}  # sessions that were ended before their time, which stands beside them
        self._changing = asyncio.Lock()  # of operators and tokens: what is read must still be so when it is written

    # The first admin

    async def has_any(self) -> bool:
        """Whether there is an operator."""
        return bool(await self._store.select(Operator, limit=1))

    async def first_link(self) -> str:
        """A ticket that makes an admin, once, within `FIRST_SECONDS`. It voids the one that was made before."""
        nonce = self._token_bytes(_TOKEN_BYTES).hex()
        hashed = _digest(nonce)
        async with self._changing:
            before = await self._store.get(Setting, _FIRST)
            if before is not None:
                await self._store.remove(Setting, f"{_FIRST}:{json.loads(before.json)}")
            await self._store.put(
                Setting(_FIRST, json.dumps(hashed)),
                Setting(f"{_FIRST}:{hashed}", "true"),
            )
        return sign(self._keyring, "first", nonce, self._utc_ms() + 1000 * FIRST_SECONDS)

    async def first(self, ticket: str, name: str, password: str) -> SignedIn:
        """Make an admin by the ticket of the link, and sign in. Raises `NotSignedIn` for one that is used, void or
        over, `Wrong`, `Conflict`, `TooMany`."""
        nonce = read(self._keyring, "first", ticket, self._utc_ms())
        hashed = "" if nonce is None else _digest(nonce)
        known = await self._store.get(Setting, _FIRST)
        if nonce is None or known is None or json.loads(known.json) != hashed:
            raise NotSignedIn(_NO_LINK)
        operator = await self._new_operator(name, password, "admin")
        async with self._changing:
            await self._check_free(operator.name)
            # The removal tells which of two who use the link at once is the one.
            if not await self._store.remove(Setting, f"{_FIRST}:{hashed}"):
                raise NotSignedIn(_NO_LINK)
            by = Actor(f"operator:{operator.id}", "admin")
            await self._audit(by, "operator.first", operator.id, role="admin")
            await self._store.put(operator)
            with suppress(StoreError):
                await self._store.remove(Setting, _FIRST)
        return self._session(operator)

    # Sessions

    async def sign_in(self, name: str, password: str, address: str) -> SignedIn:
        """A session for who knows the password. `address` is what the limits count by. Raises `NotSignedIn` and
        `TooMany`."""
        name = _folded(name)
        self._take_turn(name if _NAME.fullmatch(name) else "", address)
        if self._dummy is None:
            self._dummy = await self._hash(secrets.token_urlsafe())
        found = await self._store.select(Operator, limit=1, name=name) if _NAME.fullmatch(name) else ()
        operator = next((operator for operator in found if not operator.disabled), None)
        given = _normal(password)
        is_right = await self._verify(self._dummy if operator is None else operator.password_hash, given)
        if operator is None or not is_right:
            raise NotSignedIn(_NO_OPERATOR)
        if self._hasher.check_needs_rehash(operator.password_hash):
            operator = await self._rehashed(operator, given)
        return self._session(operator)

    async def session(self, ticket: str) -> Asker:
        """Who holds this session. Raises `NotSignedIn`."""
        subject = read(self._keyring, "operator", ticket, self._utc_ms())
        if subject is None:
            raise NotSignedIn(_NOBODY)
        id, version, session = subject.split()
        operator = await self._store.get(Operator, id)
        if operator is None or operator.disabled or _version(operator) != version or session in self._signed_out:
            raise NotSignedIn(_NOBODY)
        return self._asker(operator, session)

    def sign_out(self, ticket: str) -> None:
        """End the session. It is remembered until the server stops; the cookie goes for good."""
        now = self._utc_ms()
        subject = read(self._keyring, "operator", ticket, now)
        if subject is not None:
            self._signed_out = {session: until for session, until in self._signed_out.items() if until > now}
            self._signed_out[subject.split()[2]] = now + 1000 * SESSION_SECONDS

    def _session(self, operator: Operator) -> SignedIn:
        session = self._token_bytes(16).hex()
        subject = f"{operator.id} {_version(operator)} {session}"
        ticket = sign(self._keyring, "operator", subject, self._utc_ms() + 1000 * SESSION_SECONDS)
        return SignedIn(self._asker(operator, session), ticket)

    def _asker(self, operator: Operator, session: str) -> Asker:
        actor = Actor(f"operator:{operator.id}", cast(Role, operator.role))
        return Asker(actor, operator.name, csrf=self._keyring.seal("csrf", session.encode()))

    def _take_turn(self, account: str, address: str) -> None:
        """Count an attempt, unless there were too many: then nothing is hashed. What is remembered of attempts is
        bounded by how many can be hashed."""
        if self._hashes >= HASHES_WAITING:
            raise TooMany(_BUSY_SECONDS)
        now = self._now()
        ready_at = max(self._accounts.ready_at(account, now), self._addresses.ready_at(address, now))
        if ready_at > now:
            raise TooMany(ready_at - now)
        self._accounts.take(account, now)
        self._addresses.take(address, now)

    async def _rehashed(self, operator: Operator, password: str) -> Operator:
        """The parameters changed since: keep the password as they are now."""
        hashed = await self._hash(password)
        async with self._changing:
            current = await self._store.get(Operator, operator.id)
            if current is None or current.disabled or current.password_hash != operator.password_hash:
                raise NotSignedIn(_NO_OPERATOR)
            current = replace(current, password_hash=hashed)
            await self._store.put(current)
        return current

    # Bearers

    async def bearer(self, secret: str) -> Asker:
        """Who holds this API token, or this ticket of the command line. Raises `NotSignedIn`."""
        now = self._utc_ms()
        if not secret.startswith(TOKEN_PREFIX):
            if read(self._keyring, "cli", secret, now) is None:
                raise NotSignedIn(_NOBODY)
            return Asker(CLI, "the command line")
        found = await self._store.select(ApiToken, limit=1, hash=_digest(secret))
        token = next((token for token in found if token.until_ms is None or now < token.until_ms), None)
        if token is None:
            raise NotSignedIn(_NOBODY)
        if token.last_used_ms is None or now - token.last_used_ms >= USED_MS:
            with suppress(StoreError):
                await self._note_use(token.id, now)
        return Asker(Actor(f"token:{token.id}", _role_of(token.scopes)), token.name, frozenset(token.scopes))

    async def _note_use(self, id: str, now: int) -> None:
        async with self._changing:  # or else one that is revoked this moment would be there again
            token = await self._store.get(ApiToken, id)
            if token is not None:
                await self._store.put(replace(token, last_used_ms=now))

    # Operators

    async def operators(self) -> Sequence[Operator]:
        """All, the newest first. Show nobody `password_hash`."""
        return await self._store.select(Operator, limit=OPERATORS_LIMIT)

    async def make_operator(self, by: Actor, *, name: str, password: str, role: OperatorRole) -> Operator:
        """Raises `Wrong`, `Conflict` where there is one of this name, `TooMany`."""
        operator = await self._new_operator(name, password, role)
        async with self._changing:
            await self._check_free(operator.name)
            if len(await self._store.select(Operator, limit=OPERATORS_LIMIT)) >= OPERATORS_LIMIT:
                raise Wrong(f"there are {OPERATORS_LIMIT} operators already")
            await self._audit(by, "operator.make", operator.id, role=role)
            await self._store.put(operator)
        return operator

    async def change_operator(
        self,
        by: Actor,
        id: str,
        *,
        role: OperatorRole | None = None,
        disabled: bool | None = None,
        password: str | None = None,
    ) -> Operator:
        """Change what is given. Another password, or `disabled`, ends the operator's sessions. Raises `NotFound`,
        `Wrong`, `TooMany`, and `Conflict` for the last admin, who must stay one."""
        await self._operator(id)
        hashed = None if password is None else await self._hash(_checked(password))
        async with self._changing:
            before = await self._operator(id)
            after = replace(
                before,
                role=before.role if role is None else role,
                disabled=before.disabled if disabled is None else disabled,
                password_hash=before.password_hash if hashed is None else hashed,
            )
            if after == before:
                return before
            if _is_admin(before) and not _is_admin(after) and not await self._has_other_admin(id):
                raise Conflict("this is the last admin; make another one first")
            changed = {"role": role, "disabled": disabled, "password": None if hashed is None else True}
            await self._audit(by, "operator.change", id, **{name: to for name, to in changed.items() if to is not None})
            await self._store.put(after)
            return after

    async def _operator(self, id: str) -> Operator:
        operator = await self._store.get(Operator, id) if _ID.fullmatch(id) else None
        if operator is None:
            raise NotFound("there is no such operator")
        return operator

    async def _has_other_admin(self, id: str) -> bool:
        admins = await self._store.select(Operator, limit=2, role="admin", disabled=False)
        return any(operator.id != id for operator in admins)

    async def _new_operator(self, name: str, password: str, role: OperatorRole) -> Operator:
        name = _folded(name)
        if not _NAME.fullmatch(name):
            raise Wrong(f'"name" must be 1 to {NAME_LIMIT} letters, digits and any of . _ @ + -', "name")
        await self._check_free(name)  # before the work of a hash
        hashed = await self._hash(_checked(password))
        return Operator(self._token_bytes(8).hex(), name, hashed, role, self._utc_ms())

    async def _check_free(self, name: str) -> None:
        if await self._store.select(Operator, limit=1, name=name):
            raise Conflict("there is an operator of this name", "name")

    # Tokens

    async def tokens(self) -> Sequence[ApiToken]:
        """All, the newest first."""
        return await self._store.select(ApiToken, limit=TOKENS_LIMIT)

    async def make_token(
        self, by: Actor, *, name: str, scopes: Collection[Scope], seconds: float | None
    ) -> tuple[ApiToken, str]:
        """A token for a program, and its text, which can't be shown again. `seconds` None is for good. Raises
        `Wrong`."""
        name = " ".join(name.split())
        if not name.isprintable() or not 1 <= len(name) <= NAME_LIMIT:
            raise Wrong(f'"name" must be one line of 1 to {NAME_LIMIT} characters', "name")
        if not scopes:
            raise Wrong('"scopes" must hold one at least', "scopes")
        secret = TOKEN_PREFIX + self._token_bytes(_TOKEN_BYTES).hex()
        now = self._utc_ms()
        until_ms = None if seconds is None else now + round(1000 * seconds)
        token = ApiToken(self._token_bytes(8).hex(), name, _digest(secret), tuple(sorted(set(scopes))), now, until_ms)
        async with self._changing:
            if len(await self.tokens()) >= TOKENS_LIMIT:
                raise Wrong(f"there are {TOKENS_LIMIT} tokens already; revoke one")
            await self._audit(by, "token.make", token.id, scopes=list(token.scopes), seconds=seconds)
            await self._store.put(token)
        return token, secret

    async def revoke_token(self, by: Actor, id: str) -> None:
        """Make a token worthless. Raises `NotFound`."""
        async with self._changing:
            if not _ID.fullmatch(id) or await self._store.get(ApiToken, id) is None:
                raise NotFound("there is no such token")
            await self._audit(by, "token.revoke", id)
            await self._store.remove(ApiToken, id)

    # Parts

    async def _audit(self, by: Actor, action: str, subject: str, **details: object) -> None:
        """Before the act: what is not in the log was not done."""
        text = json.dumps(details, sort_keys=True)
        await self._store.audit(actor=by.id, action=action, subject=subject, details=text)

    async def _hash(self, password: str) -> str:
        return await self._worked(lambda: self._hasher.hash(password))

    async def _verify(self, hashed: str, password: str) -> bool:
        def verify() -> bool:
            try:
                return self._hasher.verify(hashed, password)
            except (VerificationError, InvalidHashError):
                return False

        return await self._worked(verify)

    async def _worked(self, work: Callable[[], _T]) -> _T:
        if self._hashes >= HASHES_WAITING:
            raise TooMany(_BUSY_SECONDS)
        self._hashes += 1
        try:
            async with self._hashing:
                return await asyncio.to_thread(work)
        finally:
            self._hashes -= 1


def _digest(secret: str) -> str:
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _version(operator: Operator) -> str:
    """Changes with the password."""
    return _digest(operator.password_hash)[:16]


def _is_admin(operator: Operator) -> bool:
    return operator.role == "admin" and not operator.disabled


def _role_of(scopes: Collection[str]) -> Role:
    """The role as which a token acts; its scopes narrow what it may ask for."""
    if "admin" in scopes:
        return "admin"
    return "moderator" if not {"kick", "moderate", "rooms"}.isdisjoint(scopes) else "user"


def _folded(name: str) -> str:
    """Names that look the same but for case are the same; so are those that some keyboards type in two ways."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _normal(password: str) -> str:
    """As RFC 8265 has it, without its tables: how a keyboard types a character makes no difference. A lone surrogate,
    which nobody can type, is no other than a mark for what is wrong."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "replace").decode()


def _checked(password: str) -> str:
    """Raises `Wrong`."""
    if not PASSWORD_LEAST <= len(password) <= PASSWORD_MOST:
        raise Wrong(f'"password" must have {PASSWORD_LEAST} to {PASSWORD_MOST} characters', "password")
    return _normal(password)

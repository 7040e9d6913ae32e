"""What survives a restart, as values, and the rules that bind them.

A record is known by its key (`KEYS`). `ts`, and what ends in `_ms`, are UTC milliseconds, but for `slow_ms`, which is a
span; an `until_ms` of None means for ever. What people said stands in `events`; here are the rooms, and what moderators
did.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final, Literal, TypeAlias

from parlour.core.events import Remembered, value


@value
class KnownKey:
    """Where the message got its place that `person` said under `key`.

    `said` is `hash((text, reply_to))` in this process, to tell a repeated message from another one; None where the text
    was changed since, so that nothing can be compared.
    """

    person: str
    key: str
    epoch: str
    off: int
    mid: str
    ts: int
    said: int | None


@value
class StoredRoom:
    """A public room. `off` is the highest offset that was ever stored in it, also if retention took the event since:
    the next numbering begins after it. `keys` are those of the last ten minutes, oldest first."""

    name: str
    title: str
    locked: bool = False
    slow_ms: int = 0
    archived: bool = False
    off: int = 0
    keys: Sequence[KnownKey] = ()


@value
class Found:
    """Stored messages as they are now; `more` says whether there are others on the side that was asked for."""

    messages: Sequence[Remembered]
    more: bool


@value
class Ban:
    """Somebody may not connect. `subject` is a person's id, or the keyed hash of an address; it is empty once it was
    forgotten, and the ban then meets nobody. `by` is the operator's id."""

    id: str
    kind: Literal["person", "address"]
    subject: str
    reason: str
    since_ms: int
    until_ms: int | None
    by: str


@value
class Mute:
    """Somebody may read but not speak: in one room, or, without one, in all public rooms."""

    id: str
    person: str
    room: str | None
    reason: str
    since_ms: int
    until_ms: int | None
    by: str


@value
class Block:
    """`person` never wants to meet `other` again."""

    person: str
    other: str
    since_ms: int


@value
class Report:
    """What somebody told the moderators. `evidence` is sealed by who verified it: the store can't read it."""

    ref: str
    room: str
    reporter: str
    accused: str | None
    reason: str
    note: str
    created_ms: int
    evidence: bytes
    state: Literal["open", "decided"] = "open"
    decision: str | None = None
    decided_ms: int | None = None
    decided_by: str | None = None


@value
class Operator:
    """Who may log in to the console. Never log one: it holds the hash of a password."""

    id: str
    name: str
    password_hash: str
    role: str
    created_ms: int
    disabled: bool = False


@value
class ApiToken:
    """A program's way in. `hash` is that of the token, which is not kept."""

    id: str
    name: str
    hash: str
    scopes: tuple[str, ...]
    created_ms: int
    until_ms: int | None = None
    last_used_ms: int | None = None


@value
class Consent:
    """A person accepted this version of the terms, and said to belong to this age band."""

    person: str
    version: str
    ts: int
    band: str | None = None


@value
class Setting:
    """What operators set while the server runs, such as word lists. `json` is the value's text."""

    key: str
    json: str


Record: TypeAlias = Ban | Mute | Block | Report | Operator | ApiToken | Consent | Setting

KEYS: Final[dict[type[object], tuple[str, ...]]] = {
    Ban: ("id",),
    Mute: ("id",),
    Block: ("person", "other"),
    Report: ("ref",),
    Operator: ("id",),
    ApiToken: ("id",),
    Consent: ("person", "version"),
    Setting: ("key",),
}
"""The fields by which a record is known: there is at most one with the same."""


@value
class Rules:
    """What holds now: the bans and mutes that are not over, and who blocked whom."""

    bans: Sequence[Ban]
    mutes: Sequence[Mute]
    blocks: Sequence[Block]


@value
class Retention:
    """After how many days something is forgotten; None keeps it.

    `messages` counts from when an event of a public room happened, `reports` from the decision, `addresses` from the
    beginning of a ban.
    """

    messages: int | None = 30
    reports: int | None = 90
    addresses: int | None = 14


# The audit log


@value
class AuditEntry:
    """Something that a moderator did: the `n`-th thing, counted from 1.

    `hash` binds it to all that came before: it is made of every other field, `prev_hash` among them. `details` is JSON
    as text; neither it nor `subject` may hold an address or what somebody said, for an entry is never forgotten.
    """

    n: int
    ts: int
    actor: str
    action: str
    subject: str
    details: str
    prev_hash: str
    hash: str


def chained(
    previous: AuditEntry | None, *, ts: int, actor: str, action: str, subject: str = "", details: str = "{}"
) -> AuditEntry:
    """The entry that follows `previous`, which is None for the first."""
    n, prev_hash = (1, "") if previous is None else (previous.n + 1, previous.hash)
    return AuditEntry(
        n, ts, actor, action, subject, details, prev_hash, _digest(n, ts, actor, action, subject, details, prev_hash)
    )


def first_broken(entries: Iterable[AuditEntry], previous: AuditEntry | None = None) -> int | None:
    """The number that the first entry should have which is not as it was written, or is missing; None if all hold.

    `entries` follow `previous`, in order. What was cut off at the end shows only to who noted the last hash.
    """
    for entry in entries:
        n, prev_hash = (1, "") if previous is None else (previous.n + 1, previous.hash)
        fields = (entry.ts, entry.actor, entry.action, entry.subject, entry.details, prev_hash)
        if entry.n != n or entry.prev_hash != prev_hash or entry.hash != _digest(n, *fields):
            return n
        previous = entry
    return None


def _digest(*parts: str | int) -> str:
    """SHA-256 over the parts, each after its length, so that no two lists of parts give the same bytes."""
    whole = sha256()
    for part in parts:
        data = str(part).encode()
        whole.update(len(data).to_bytes(8, "big") + data)
    return whole.hexdigest()

"""Who may do what, and who may not any more: roles, bans, mutes, and the modes of rooms.

- `may`: the one table of roles and actions.
- `Penalties`: a snapshot of all bans, mutes and modes, made anew when one of them changes; it answers whether somebody
  may connect or speak. `Turns` remembers when people spoke, for slow mode.
- `address_prefix`: what of an address can be banned.

Times are UTC milliseconds, for these last longer than the process. All of it is pure.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final, Literal, Protocol, TypeAlias, TypeVar

from parlour.core.events import Role, value
from parlour.errors import Refusal

IPV6_PREFIX: Final = 64
"""Bits of an IPv6 address that are one customer's, at least (RFC 6177)."""

# Who may do what

Action: TypeAlias = Literal[
    "speak",
    "report",
    "speak.locked",
    "speak.fast",
    "mod.delete",
    "mod.kick",
    "mod.mute",
    "mod.ban",
    "mod.unban",
    "mod.lock",
    "mod.slow",
    "mod.held",
    "mod.reports",
    "admin.roles",
    "admin.rules",
    "admin.audit",
]

ROLES: Final[tuple[Role, ...]] = ("guest", "user", "moderator", "admin")
"""In their order: each may do what those before it may."""

ACTIONS: Final[Mapping[Action, Role]] = {
    "speak": "guest",
    "report": "guest",
    "speak.locked": "moderator",  # in a room that is locked
    "speak.fast": "moderator",  # in a room in slow mode
    "mod.delete": "moderator",
    "mod.kick": "moderator",
    "mod.mute": "moderator",
    "mod.ban": "moderator",
    "mod.unban": "moderator",
    "mod.lock": "moderator",
    "mod.slow": "moderator",
    "mod.held": "moderator",  # let a message pass that waits, or not
    "mod.reports": "moderator",  # read reports and their evidence
    "admin.roles": "admin",  # say who is a moderator
    "admin.rules": "admin",  # change the filter
    "admin.audit": "admin",  # read what moderators did
}
"""Every action with the first role that may do it."""


def may(role: Role, action: Action, target: Role | None = None) -> bool:
    """Whether somebody of this role may do that; where it is done to a person, `target` is their role, which must be a
    lower one: moderators can't ban each other. Raises `KeyError` for an action that is not in `ACTIONS`."""
    rank = ROLES.index(role)
    return rank >= ROLES.index(ACTIONS[action]) and (target is None or rank > ROLES.index(target))


# Who may not any more


class Ban(Protocol):
    """What counts of a ban. `subject` is a person's lasting id, or `Keyring.address_hash` of an address's prefix, or
    empty, which is nobody. `until_ms` None is for good. `reason` is a moderator's, for the person."""

    @property
    def kind(self) -> Literal["person", "address"]: ...
    @property
    def subject(self) -> str: ...
    @property
    def until_ms(self) -> int | None: ...
    @property
    def reason(self) -> str: ...


class Mute(Protocol):
    """What counts of a mute: the person may not speak in `room`, or, without one, anywhere, booths too."""

    @property
    def person(self) -> str: ...
    @property
    def room(self) -> str | None: ...
    @property
    def until_ms(self) -> int | None: ...
    @property
    def reason(self) -> str: ...


@value
class Mode:
    """How a room is: `locked`, then only moderators speak; or slow, then one message each `slow_ms`."""

    locked: bool = False
    slow_ms: int = 0


_Key = TypeVar("_Key")

_FOREVER: Final = 1 << 62
_LOCKED: Final = Refusal("locked", "the room is locked; read on, and speak when it is open again")


class Penalties:
    """All bans, mutes and modes at one time. It never changes: what is added or lifted makes another one.

    What has run out counts no more, without anybody's doing; `next_expiry` is for who wants to tell of it. Where
    several are for the same person, the longest counts.
    """

    __slots__ = ("_addresses", "_bans", "_ends", "_modes", "_mutes")

    def __init__(
        self, bans: Iterable[Ban] = (), mutes: Iterable[Mute] = (), modes: Mapping[str, Mode] | None = None
    ) -> None:
        """`modes` are by room."""
        self._bans: dict[str, tuple[int, str]] = {}  # by person: until when, and why
        self._addresses: dict[str, tuple[int, str]] = {}  # by keyed hash
        self._mutes: dict[tuple[str, str | None], tuple[int, str]] = {}  # by person and room
        self._modes = {room: mode for room, mode in (modes or {}).items() if mode != Mode()}
        for ban in bans:
            if ban.subject:
                _longest(self._bans if ban.kind == "person" else self._addresses, ban.subject, ban)
        for mute in mutes:
            _longest(self._mutes, (mute.person, mute.room), mute)
        ends = (until for known in (self._bans, self._addresses, self._mutes) for until, _ in known.values())
        self._ends = sorted({until for until in ends if until != _FOREVER})

    def may_connect(self, person: str | None, address_hash: str | None, now_ms: int) -> Refusal | None:
        """Why they may not, if they may not: `banned`. None stands for what is not known (yet), or can't be banned."""
        for known, key in ((self._bans, person), (self._addresses, address_hash)):
            ban = known.get(key) if known and key is not None else None
            if ban is not None and now_ms < ban[0]:
                return _ended("banned", "you were banned", ban, now_ms)
        return None

    def may_speak(
        self, person: str, room: str, role: Role, now_ms: int, *, last_ms: int | None = None
    ) -> Refusal | None:
        """Why the person may not speak in the room now, if so: `banned`, `muted`, `locked`, or in slow mode
        `rate_limited` with the time to wait. `last_ms` is when the person spoke there last: `Turns` knows it.

        Who is muted is, whatever the role. `person` is the lasting id, in booths too."""
        if self._bans:
            refusal = self.may_connect(person, None, now_ms)
            if refusal is not None:
                return refusal
        if self._mutes:
            for where in (room, None):
                mute = self._mutes.get((person, where))
                if mute is not None and now_ms < mute[0]:
                    return _ended("muted", "you may read but not speak here", mute, now_ms)
        mode = self._modes.get(room) if self._modes else None
        if mode is None:
            return None
        if mode.locked and not may(role, "speak.locked"):
            return _LOCKED
        if mode.slow_ms and last_ms is not None and not may(role, "speak.fast"):
            # A clock that was set back makes nobody wait longer than the mode says.
            wait = min(mode.slow_ms, mode.slow_ms - (now_ms - last_ms))
            if wait > 0:
                words = f"the room is slow: one message each {mode.slow_ms / 1000:g} seconds"
                return Refusal("rate_limited", words, retry=True, retry_after_ms=wait)
        return None

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._bans or self._addresses or self._mutes or self._modes)

    def mode(self, room: str) -> Mode:
        """How the room is."""
        return self._modes.get(room) or Mode()

    def slow_ms(self, room: str) -> int:
        """How long each one waits between two messages there; 0 if the room is not slow."""
        mode = self._modes.get(room)
        return 0 if mode is None else mode.slow_ms

    def next_expiry(self, now_ms: int) -> int | None:
        """When the next ban or mute runs out after now; None if none does."""
        return next((until for until in self._ends if until > now_ms), None)


class Turns:
    """When people spoke last in rooms that are slow. Of a room that is not, nothing is kept."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[str, OrderedDict[str, int]] = {}  # by room and person, who was quiet longest first

    def last(self, person: str, room: str) -> int | None:
        """For `Penalties.may_speak`."""
        known = self._last.get(room)
        return None if known is None else known.get(person)

    def spoke(self, person: str, room: str, slow_ms: int, now_ms: int) -> None:
        """Note it; `slow_ms` is the room's. Those whose turn came again are forgotten on the way."""
        if slow_ms <= 0:
            self._last.pop(room, None)
            return
        last = self._last.setdefault(room, OrderedDict())
        last.pop(person, None)
        last[person] = now_ms
        while next(iter(last.values())) <= now_ms - slow_ms:
            last.popitem(last=False)


def _longest(known: dict[_Key, tuple[int, str]], key: _Key, penalty: Ban | Mute) -> None:
    until = _FOREVER if penalty.until_ms is None else penalty.until_ms
    if key not in known or until > known[key][0]:
        known[key] = until, penalty.reason


def _ended(code: str, words: str, known: tuple[int, str], now_ms: int) -> Refusal:
    until, reason = known
    words = f"{words}: {reason}" if reason else words
    if until == _FOREVER:
        return Refusal(code, words)
    return Refusal(code, words, retry=True, retry_after_ms=until - now_ms)


def address_prefix(address: str) -> str | None:
    """What a ban of this address covers: an IPv4 address, or an IPv6 network of `IPV6_PREFIX` bits. None for what can't
    be banned: no address, or one that is not of the public internet, behind which there may be anybody (private,
    loopback, link-local, a provider's shared ones, documentation: IANA's special-purpose registries).

    Takes an address, or what this or the door made of one. An IPv4 address within an IPv6 one (mapped, RFC 4291; or
    translated, RFC 6052) is meant itself: its network would hold all of IPv4.
    """
    try:
        known = ipaddress.ip_address(address.partition("/")[0].partition("%")[0])
    except ValueError:
        return None
    if isinstance(known, ipaddress.IPv6Address):
        embedded = known.ipv4_mapped
        if known in _TRANSLATED:
            embedded = ipaddress.IPv4Address(int(known) & 0xFFFFFFFF)
        known = embedded or known
    if not known.is_global or known.is_multicast:
        return None
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    return str(ipaddress.ip_network((known, IPV6_PREFIX), strict=False))


_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")

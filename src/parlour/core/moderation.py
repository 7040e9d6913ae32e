"""What may be said, and how often.

`Budget` holds a rate; `Verdict` is what becomes of a text; `checked_text` and `checked_emoji` hold the rules for what
is said. All of it is pure: the same input and time give the same verdict. The rules for names stand in `names`.
"""

import re
import unicodedata
from typing import Final, Literal, NamedTuple, TypeAlias

from parlour.errors import Refusal

TEXT_LIMIT: Final = 10_000
"""Characters in a message."""

_ELEMENT = "(?:RR|DV?K|S[MV]?T*|PV)"
_EMOJI = re.compile(f"{_ELEMENT}(?:J{_ELEMENT})*")
"""One emoji (UTS #51, section 1.4.9), each character given by its kind."""

_KINDS: Final = {
    **dict.fromkeys(map(chr, range(0x1F1E6, 0x1F200)), "R"),  # two of them are a flag
    **dict.fromkeys("#*0123456789", "D"),  # keycaps
    "\u20e3": "K",
    **dict.fromkeys(map(chr, range(0x1F3FB, 0x1F400)), "M"),  # skin tones
    **dict.fromkeys(map(chr, range(0xE0020, 0xE0080)), "T"),  # which region's flag
    "\ufe0f": "V",
    "\u200d": "J",
    **dict.fromkeys("\u25fb\u25fc\u25fd\u25fe", "S"),
    **dict.fromkeys("\u203c\u2049\u2139\u2194\u3030\u303d", "P"),  # drawn as text by default
}


Kind: TypeAlias = Literal["pass", "flag", "hold", "refuse"]

KINDS: Final[tuple[Kind, ...]] = ("pass", "flag", "hold", "refuse")
"""From the mildest to the strictest."""

_HELD: Final = Refusal("held", "the message waits for a moderator")
_NOT_ALLOWED: Final = "the message is not allowed here; say it in other words"


_SWEEP: Final = 1024


class Verdict(NamedTuple):
    """What becomes of a text. `reasons` tell why, in the order of the parts that found something (see `filter`).
    `words` are for the sender of one that is refused; they never hold what was said."""

    kind: Kind
    reasons: tuple[str, ...] = ()
    words: str | None = None

    @property
    def refusal(self) -> Refusal | None:
        """The answer to the sender, if the text is not said now."""
        if self.kind == "refuse":
            return Refusal("forbidden", self.words or _NOT_ALLOWED)
        return _HELD if self.kind == "hold" else None


PASS: Final = Verdict("pass")


class Budget:
    """A rate with a burst, as a token bucket kept in one number (GCRA, ITU-T I.371).

    `rate` is in units a second; `burst` units may be taken at once by one who was quiet.
    """

    __slots__ = ("_interval", "_slack", "_used")

    def __init__(self, rate: float, burst: int) -> None:
        self._interval = 1.0 / rate
        # The microsecond lets one who keeps exactly to the rate pass, though sums of times are rounded.
        self._slack = (burst - 1) * self._interval + 1e-6
        self._used = float("-inf")  # the time up to which all that was taken is paid for

    def take(self, now: float) -> bool:
        """Take one unit, if there is one. `now` is in seconds and never goes back."""
        if now < self.ready_at():
            return False
        self._used = max(self._used, now) + self._interval
        return True

    def is_full(self, now: float) -> bool:
        """Whether all that was taken has come back."""
        return self._used <= now

    def ready_at(self) -> float:
        """The time from which the next `take` succeeds."""
        return self._used - self._slack


class Budgets:
    """A budget for each of many, such as the addresses that ask something. Who took nothing for long is forgotten."""

    __slots__ = ("_budgets", "_burst", "_rate", "_sweep_at")

    def __init__(self, rate: float, burst: int) -> None:
        """See `Budget`."""
        self._rate = rate
        self._burst = burst
        self._budgets: dict[str, Budget] = {}
        self._sweep_at = _SWEEP

    def __len__(self) -> int:
        """Of how many it is known what they took."""
        return len(self._budgets)

    def take(self, who: str, now: float) -> bool:
        """Take one unit of this one's budget, if there is one."""
        return self._of(who, now).take(now)

    def ready_at(self, who: str, now: float) -> float:
        """The time from which the next `take` succeeds."""
        return self._of(who, now).ready_at()

    def _of(self, who: str, now: float) -> Budget:
        if len(self._budgets) >= self._sweep_at and who not in self._budgets:
            self._budgets = {known: budget for known, budget in self._budgets.items() if not budget.is_full(now)}
            self._sweep_at = max(_SWEEP, 2 * len(self._budgets))
        return self._budgets.setdefault(who, Budget(self._rate, self._burst))


def checked_text(text: str) -> Refusal | None:
    """Why a message may not be said, if it may not."""
    if len(text) > TEXT_LIMIT:
        return Refusal("too_large", f'"message" is longer than {TEXT_LIMIT} characters; shorten it', field="message")
    return None


def checked_emoji(emoji: str) -> Refusal | None:
    """Why something may not be put to a message, if it may not: only emoji may, for words there are messages."""
    kinds = "".join(
        _KINDS.get(character) or ("S" if unicodedata.category(character) == "So" else "?") for character in emoji
    )
    if _EMOJI.fullmatch(kinds):
        return None
    return Refusal("bad_field", '"emoji" must be one emoji', field="emoji")

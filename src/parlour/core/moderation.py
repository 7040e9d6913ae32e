"""What may be said, how often, and under which name.

`Budget` holds a rate; `checked_name` and `checked_text` hold the rules for names and texts. All of it is pure: the same
input and time give the same verdict.
"""

import re
import unicodedata
from typing import Final

from parlour.errors import Refusal

NAME_LIMIT: Final = 64
"""Characters in a name."""

TEXT_LIMIT: Final = 10_000
"""Characters in a message."""

MARKS_LIMIT: Final = 2
"""Combining marks in a row: enough for Vietnamese or Hebrew, too few to draw over the neighbouring lines."""

_JOINERS = frozenset("\u200c\u200d")
_FILLERS = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and symbols by category, but drawn as nothing at all."""

_ARROWS = re.compile(rf"(?:>+[\s{_FILLERS}])+")
_NOTICE = re.compile(rf"\A(?:![\s{_FILLERS}]+)+")
"""What looks like the `> ` behind a name or the `! ` before a notice, whichever blank stands for the space."""

_UNSEEN = frozenset(
    map(chr, (0x034F, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0xFE00, 0xFE0E), *range(0xE0100, 0xE01F0)))
)
"""Marks that are drawn as nothing (Default_Ignorable_Code_Point, UAX #44): they make a second `admin`."""

_PRESENTATION = frozenset("\ufe0e\ufe0f")
"""Say how the symbol before them is drawn, as in many emoji."""

_REFUSED = {
    "Cc": "control characters",
    "Cf": "invisible or direction-changing characters",
    "Cn": "unassigned characters",
    "Co": "private-use characters",
    "Cs": "surrogates",
    "Zl": "line separators",
    "Zp": "paragraph separators",
}

_SIMPLE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 _.-]{0,62}[A-Za-z0-9_.-])?")
"""Names that need no closer look: most of them."""


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


def checked_name(name: str) -> str | Refusal:
    """The name as accepted (trimmed), or why it is not.

    The rules keep a plain line `name> text` readable in one way only, and a name from hiding, overwriting or turning
    round what stands beside it.
    """
    if _SIMPLE_NAME.fullmatch(name):
        return name
    name = name.strip()
    problem = _name_problem(name)
    return name if problem is None else Refusal("bad_name", problem, field="username")


def _name_problem(name: str) -> str | None:
    if not name:
        return "the name is empty; give at least one character"
    if len(name) > NAME_LIMIT:
        return f"the name is longer than {NAME_LIMIT} characters; shorten it"
    if _ARROWS.search(name):
        return 'the name must not contain "> "; leave that out'
    if _NOTICE.match(name):
        return 'the name must not begin with "! "; leave that out'
    marks = 0
    visible = False
    for at, character in enumerate(name):
        category = unicodedata.category(character)
        if category in _REFUSED and not _joins_a_word(name, at):
            return f"the name contains {_REFUSED[category]}; leave them out"
        if character in _UNSEEN or (character in _PRESENTATION and not _follows_a_symbol(name, at)):
            return "the name contains invisible marks; leave them out"
        if category in ("Mn", "Me"):
            marks += 1
        elif character not in _JOINERS:
            marks = 0
        if marks > MARKS_LIMIT:
            return f"the name has more than {MARKS_LIMIT} combining marks in a row; leave some out"
        visible = visible or (category[0] in "LNPS" and character not in _FILLERS)
    return None if visible else "the name has no visible character; give at least one"


def _joins_a_word(name: str, at: int) -> bool:
    """Whether the character is a zero-width (non-)joiner between two visible ones, as in Persian and in emoji."""
    if name[at] not in _JOINERS or not 0 < at < len(name) - 1:
        return False
    return all(unicodedata.category(name[beside])[0] in "LNPSM" for beside in (at - 1, at + 1))


def _follows_a_symbol(name: str, at: int) -> bool:
    return at > 0 and name[at - 1] not in ">!" and unicodedata.category(name[at - 1])[0] in "SNP"


def mended_name(name: str) -> str:
    """A name that the host app proved, without what the rules refuse: its owner can't choose another one here."""
    accepted = checked_name(name)
    if isinstance(accepted, str):
        return accepted
    kept = "".join(
        character
        for character in name[: 4 * NAME_LIMIT]
        if unicodedata.category(character) not in _REFUSED
        and character not in _UNSEEN
        and character not in _PRESENTATION
    )
    kept = _NOTICE.sub("", _ARROWS.sub(" ", kept).strip())[:NAME_LIMIT].strip()
    return "someone" if isinstance(checked_name(kept), Refusal) else kept


def checked_text(text: str) -> Refusal | None:
    """Why a message may not be said, if it may not."""
    if len(text) > TEXT_LIMIT:
        return Refusal("too_large", f'"message" is longer than {TEXT_LIMIT} characters; shorten it', field="message")
    return None

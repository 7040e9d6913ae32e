"""Under which name people may go, which names look alike, and what somebody is called who gave none.

- `checked_name`, `mended_name`: the rules for each name by itself. `NameRules`: these, and the names reserved here.
- `skeleton`: what a name looks like (UTS #39, section 4).
- `given_name`: a friendly name, chosen by a hash.

All of it is pure: the same input gives the same verdict.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from parlour.errors import Refusal

NAME_LIMIT: Final = 64
"""Characters in a name."""

DECOMPOSED_LIMIT: Final = 4 * NAME_LIMIT
"""Characters of a name that is taken apart (NFKD): a few signs stand for whole sentences, are as wide to draw, and take
a hundred times as long to compare."""

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

_BLANK = re.compile(
    # Default_Ignorable_Code_Point (UAX #44), and a Braille pattern without dots.
    r"[\s\u2800\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
"""What takes room at most, and shows nothing."""

_HIDDEN_DOT = re.compile("(?<=[lj])\u0307+")
"""A dot above what may be an i or a j, which lose their own dot under it (Soft_Dotted, UAX #44)."""

_prototypes: dict[int, str] = {}
"""What each character that looks like others stands for; empty until the first skeleton is made."""

_ADJECTIVES: Final = """
    Agile Amiable Brave Breezy Bright Brisk Bubbly Calm Candid Careful Caring Cheerful Clever Cosmic
    Cosy Curious Daring Dapper Eager Earnest Faithful Fearless Friendly Generous Gentle Glad Graceful
    Grateful Happy Helpful Honest Hopeful Humble Jolly Joyful Keen Kind Lively Loyal Lucky Mellow Merry
    Modest Neat Nimble Patient Peaceful Playful Polite Quick Quiet Ready Serene Sincere Smart Steady
    Sunny Swift Thoughtful Tidy Trusty Upbeat Wise Witty
"""
_ANIMALS: Final = """
    Alpaca Antelope Badger Bison Bluebird Butterfly Capybara Caribou Crane Dolphin Dormouse Dove
    Dragonfly Duckling Eagle Falcon Finch Firefly Flamingo Fox Gazelle Gecko Giraffe Hamster Hedgehog
    Heron Hummingbird Kingfisher Koala Lark Lemur Llama Lynx Marmot Meerkat Moose Narwhal Nightingale
    Ocelot Okapi Osprey Otter Owl Panda Pangolin Pelican Penguin Puffin Quokka Rabbit Reindeer
    Robin Sandpiper Seahorse Sparrow Squirrel Starling Swan Toucan Turtle Wallaby Wombat Wren Zebra
"""
"""64 each, kind in any pair, and no two pairs look alike."""


class NameRules:
    """Which names people may take on this server: those that `checked_name` accepts, but none that looks like one of
    `reserved`, in any mix of cases."""

    __slots__ = ("_reserved",)

    def __init__(self, reserved: Sequence[str] = ()) -> None:
        self._reserved = frozenset().union(*map(looks, reserved))

    def checked(self, name: str, field: str = "username") -> str | Refusal:
        """The name as accepted (trimmed), or why it is not; `field` is what the client calls it."""
        accepted = checked_name(name, field)
        if not self._reserved or isinstance(accepted, Refusal) or self._reserved.isdisjoint(looks(accepted)):
            return accepted
        return Refusal("bad_name", "the name looks like one that is reserved here; choose another", field=field)


def checked_name(name: str, field: str = "username") -> str | Refusal:
    """The name as accepted (trimmed), or why it is not; `field` is what the client calls it.

    The rules keep a plain line `name> text` readable in one way only, and a name from hiding, overwriting or turning
    round what stands beside it.
    """
    if _SIMPLE_NAME.fullmatch(name):
        return name
    name = name.strip()
    problem = _name_problem(name)
    return name if problem is None else Refusal("bad_name", problem, field=field)


def _name_problem(name: str) -> str | None:
    if not name:
        return "the name is empty; give at least one character"
    if len(name) > NAME_LIMIT:
        return f"the name is longer than {NAME_LIMIT} characters; shorten it"
    if _ARROWS.search(name):
        return 'the name must not contain "> "; leave that out'
    if _NOTICE.match(name):
        return 'the name must not begin with "! "; leave that out'
    if len(unicodedata.normalize("NFKD", name)) > DECOMPOSED_LIMIT:
        return "the name has characters that stand for whole words; leave them out"
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


def skeleton(name: str) -> str:
    """What a name looks like: two names look alike, in the same case or another, exactly if their skeletons are equal.

    The internal skeleton of UTS #39, section 4, of the name without compatibility forms (NFKD), blanks, and what is
    drawn as nothing. It is for comparing, not for showing. Unicode's data keep cases apart, so two rules are added:

    - Each character gives way to its prototype as it is written, then is casefolded, and so on until nothing changes:
      the Cyrillic capital that looks like M is an m, though its small form looks like no m.
    - i is l. The data take I for l, so `AdmIn` would else be either `admin` or `admln`; now it is both, as is `adm1n`.
      The price is that `Ali` looks like `All`.
    """
    table = _prototypes or _loaded_prototypes()
    before = None
    # It ends: a character is settled after at most four rounds, and marks only change places.
    while name != before:
        before = name
        name = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).translate(table).casefold())
        name = _HIDDEN_DOT.sub("", _BLANK.sub("", name).replace("i", "l"))
    return name


def _loaded_prototypes() -> dict[int, str]:
    # Most servers reserve no name: they need not load the data.
    from parlour.core.confusables import LOOKS

    words = LOOKS.split()
    _prototypes.update({ord(one): stands for stands, ones in zip(words[::2], words[1::2], strict=True) for one in ones})
    return _prototypes


def looks(name: str) -> frozenset[str]:
    """The skeletons of a name as written, in small letters and in capitals.

    Letters of two scripts can look alike in one case only: Greek has a capital like H, whose small form is like n. One
    skeleton can't hold together both what looks alike and the cases of either script; any of three in common can.
    """
    if name.isascii():
        return frozenset((skeleton(name),))  # the three are one: of the letters, the data take only I and m for others
    plain = unicodedata.normalize("NFKD", name)
    return frozenset(map(skeleton, (plain, plain.casefold(), plain.upper())))


def given_name(seed: str, attempt: int = 0) -> str:
    """A friendly name for somebody who gave none, such as `Quiet Otter`: the same for the same `seed`.

    `attempt` 1, 2, 3 ... gives `Quiet Otter 2`, `Quiet Otter 3` ..., where a name is taken.
    """
    # Loading it takes longer than all else here.
    from hashlib import blake2b

    chosen = int.from_bytes(blake2b(seed.encode("utf-8", "surrogatepass"), digest_size=8).digest())
    adjectives, animals = _ADJECTIVES.split(), _ANIMALS.split()
    name = f"{adjectives[chosen % len(adjectives)]} {animals[chosen // len(adjectives) % len(animals)]}"
    return f"{name} {attempt + 1}" if attempt else name

"""What becomes of a text before it is said: it passes, is flagged, held for a moderator, or refused.

- `FilterRules`: what the operator wishes for; `parsed_words` reads a list of words.
- `Filter`: these rules at work, with the little that it must know of what people said before.
- `Question`, `Opinion`, `combined`: how the answer of the host app's own classifier goes into the verdict.

All of it is pure: the same texts at the same times give the same verdicts. A server without rules needs no `Filter`,
and loads neither pyahocorasick nor linkify-it.
"""

import re
import unicodedata
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from parlour.core.events import value
from parlour.core.moderation import KINDS, PASS, Kind, Verdict
from parlour.core.names import skeleton

REMEMBERED: Final = 10_000
"""People (for `flood`: people in one room) of whom a rule knows what they said, those who spoke last."""

GIST: Final = 6
"""Letters and symbols from which on a text can be a repeat: people say "yes" and laugh again and again."""

OPENING: Final = 12
"""The same for an opening: nearly everybody greets in the same few words."""

SHOUTED: Final = 20
"""Characters from which on a text without small letters is shouted."""

MENTIONS: Final = 5
"""So many `@names` in one text call for everybody."""

_WORDS: Final = {
    "word": "the message has words that are not allowed here; say it in others",
    "link": "the message has a link that is not allowed here; leave it out",
    "repeat": "you said this already; say something new, or wait a while",
    "flood": "you fill the room; let others speak, and wait a while",
    "opening": "you began other chats with the same words; find new ones",
    "shouting": "the message is all in capitals; write it in small letters",
    "mentions": "the message calls for too many people at once; name fewer",
    "classifier": "the message is not allowed here; say it in other words",
}
"""For the sender, by reason."""

# `Verdict.reasons`: `word`, `link`, `shouting`, `mentions`, `repeat`, `flood`, `opening`, `classifier`, or
# `unclassified` where no classifier answered.


class Limit(NamedTuple):
    """From so many `times` within `seconds` on, it is of this `kind`."""

    times: int
    seconds: float
    kind: Kind = "flag"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterRules:
    """What the operator wishes for; without anything set, every text passes. False if nothing is set: then there is
    nothing to ask a `Filter`. Raises `ValueError` for an entry or a limit that can't work."""

    words: Mapping[str, Kind] = field(default_factory=dict)
    """By word or phrase. It must stand alone; `*` at an end lets the word go on there: `spam*`, `*coin`, `*xxx*`."""
    links: Kind = "pass"
    """For a text with a link to another host than `hosts`. E-mail addresses are no links."""
    opening_links: Kind = "pass"
    """The same, for what somebody says first in a booth."""
    hosts: frozenset[str] = frozenset()
    """Hosts to which links may lead, and to all hosts below them: `example.org`."""
    repeats: Limit | None = None
    """The same person says the same, but for blanks, digits, punctuation, case and look-alikes."""
    flood: Limit | None = None
    """The same person says anything in the same room, while `Pace` lets it pass."""
    openings: Limit | None = None
    """The same person begins booths with the same words: booths are counted. Usual: `Limit(3, 600.0)`."""
    shouting: Kind = "pass"
    """For a text of `SHOUTED` characters or more without a small letter."""
    mentions: Kind = "pass"
    """For a text with `MENTIONS` names behind `@` or more."""

    def __post_init__(self) -> None:
        for entry in self.words:
            if not _fold(entry.strip("*")).strip():
                raise ValueError(f"an entry of the word list needs a letter, digit or symbol: {entry!r}")
        for name in ("repeats", "flood", "openings"):
            limit: Limit | None = getattr(self, name)
            if limit is not None and (limit.times < 2 or limit.seconds <= 0):
                raise ValueError(f"{name}: a limit counts to 2 at least, within more than 0 seconds")

    def __bool__(self) -> bool:
        kinds = {*self.words.values(), self.links, self.opening_links, self.shouting, self.mentions}
        limits = (self.repeats, self.flood, self.openings)
        return bool(kinds - {"pass"}) or any(limit is not None and limit.kind != "pass" for limit in limits)


def parsed_words(text: str) -> Mapping[str, Kind]:
    """A word list from its file: one entry a line, behind its verdict (`flag free money*`); `#` begins a comment. The
    last of a repeated entry counts. Raises `ValueError`, with the number of the line."""
    words: dict[str, Kind] = {}
    for number, line in enumerate(text.splitlines(), 1):
        verdict, _, entry = line.partition("#")[0].strip().partition(" ")
        if not verdict:
            continue
        kind = next((kind for kind in KINDS if kind == verdict), None)
        if kind is None or not _fold(entry.strip("* ")).strip():
            raise ValueError(f"line {number}: write one of {', '.join(KINDS)}, a blank, and a word or phrase")
        words[entry.strip()] = kind
    return words


class Filter:
    """The rules at work.

    What it knows of people is little, and forgotten once it is too old to count, or beyond `REMEMBERED`; then a rule
    counts from new. It is of this process: where several serve one room, each counts what it hears.
    """

    __slots__ = ("_flood", "_links", "_openings", "_repeats", "_rules", "_words")

    def __init__(self, rules: FilterRules) -> None:
        self._rules = rules
        self._words = _WordList(rules.words) if rules.words else None
        has_links = rules.links != "pass" or rules.opening_links != "pass"
        self._links = _Links(rules.hosts) if has_links else None
        # A spammer may say other things in between.
        self._repeats = None if rules.repeats is None else _Recent(rules.repeats, max(16, 4 * rules.repeats.times))
        self._flood = None if rules.flood is None else _Recent(rules.flood, rules.flood.times)
        self._openings = None if rules.openings is None else _Recent(rules.openings, max(16, 4 * rules.openings.times))

    def judge(self, text: str, person: str, room: str, now: float, *, opening: bool) -> Verdict:
        """What becomes of a new message of `person`, by the lasting id. `opening` says that it is the first that the
        person says in this booth. `now` is in seconds and never goes back. What is refused counts like what is said."""
        found = self._read(text, opening)
        openings = self._openings if opening else None
        said = "" if self._repeats is None and openings is None else _gist(text)
        if self._repeats is not None and len(said) >= GIST:
            texts = [text for _, text in self._repeats.add(person, said, now)]
            self._repeats.judge(texts.count(said), "repeat", found)
        if self._flood is not None:
            self._flood.judge(len(self._flood.add((person, room), None, now)), "flood", found)
        if openings is not None and len(said) >= OPENING:
            begun = openings.add(person, (said, room), now)
            openings.judge(len({booth for _, (text, booth) in begun if text == said}), "opening", found)
        return _verdict(found) if found else PASS

    def judge_text(self, text: str, *, opening: bool = False) -> Verdict:
        """What becomes of a text whoever says it, and however often: for an edit, which may well be nearly the same."""
        found = self._read(text, opening)
        return _verdict(found) if found else PASS

    def _read(self, text: str, opening: bool) -> list[tuple[Kind, str]]:
        rules = self._rules
        found: list[tuple[Kind, str]] = []
        if self._words is not None:
            kind = self._words.find(text)
            if kind != "pass":
                found.append((kind, "word"))
        if self._links is not None and self._links.has_foreign(text):
            found.append((_strictest((rules.links, rules.opening_links)) if opening else rules.links, "link"))
        if rules.shouting != "pass" and len(text) >= SHOUTED and text.isupper():
            found.append((rules.shouting, "shouting"))
        if rules.mentions != "pass" and text.count("@") >= MENTIONS and len(_MENTION.findall(text)) >= MENTIONS:
            found.append((rules.mentions, "mentions"))
        return found


_MENTION = re.compile(r"(?<!\w)@\w")


def _strictest(kinds: Sequence[Kind]) -> Kind:
    return max(kinds, key=KINDS.index)


def _verdict(found: Sequence[tuple[Kind, str]]) -> Verdict:
    """The strictest wins; who reads the reasons sees all of those that are more than a pass."""
    found = [(kind, reason) for kind, reason in found if kind != "pass"]
    if not found:
        return PASS
    strictest = _strictest([kind for kind, _ in found])
    refused = next((reason for kind, reason in found if kind == "refuse"), None)
    return Verdict(strictest, tuple(reason for _, reason in found), None if refused is None else _WORDS[refused])


# What people said before


class _Recent:
    """What each one did within the last seconds, in the order of their doing. Invariant: no one's is empty."""

    __slots__ = ("_did", "_kept", "_limit")

    def __init__(self, limit: Limit, kept: int) -> None:
        self._limit = limit
        self._kept = kept  # of each one, the newest
        self._did: OrderedDict[Hashable, deque[tuple[float, Any]]] = OrderedDict()  # who was quiet longest first

    def add(self, who: Hashable, what: object, now: float) -> deque[tuple[float, Any]]:
        """What this one did, this among it, and when."""
        oldest = now - self._limit.seconds
        did = self._did.pop(who, None)
        if did is None:
            did = deque(maxlen=self._kept)
        did.append((now, what))
        while did[0][0] <= oldest:
            did.popleft()
        self._did[who] = did
        while len(self._did) > REMEMBERED or next(iter(self._did.values()))[-1][0] <= oldest:
            self._did.popitem(last=False)
        return did

    def judge(self, times: int, reason: str, found: list[tuple[Kind, str]]) -> None:
        """Note the reason if it was too often."""
        if times >= self._limit.times:
            found.append((self._limit.kind, reason))


# How a text looks

_FOLDS: Final = 20_000
"""Characters whose fold is kept; Unicode has more than a million."""

_MARKS = re.compile("[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f]+")
"""Marks that go with letters of any script: they are drawn over them. The vowels of Hindi or Thai are none of these."""

_LEET: Final = {"3": "e", "4": "a", "5": "s", "7": "t"}
"""Digits that stand for letters, beside 0 and 1, which Unicode's data know."""

_LEET_SYMBOLS: Final = str.maketrans({"@": "a", "$": "s", "!": "I", "|": "I"})
"""The capital can be an i or an l."""

_ALPHABETS: Final = (("a", "z"), ("\u03b1", "\u03c9"), ("\u0430", "\u045f"))

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Scripts that put no blanks between words: Thai, Lao, Burmese, Khmer, kana, Han."""

_SPELLED = re.compile(r" . . .(?: .)* ")
"""Three letters or more, each by itself."""

_STRETCHED = re.compile(r"([^\W_])\1{2,}", re.IGNORECASE)


class _Folds(dict[int, str | None]):
    """What each character is taken for where texts are compared: the letter that it looks like, in small; a blank for
    what divides words; nothing for what is not seen. Made when it is first met."""

    def __missing__(self, code: int) -> str | None:
        if len(self) >= _FOLDS:
            self.clear()
        fold = self[code] = self._made(chr(code)) or None
        return fold

    def _made(self, character: str) -> str:
        category = unicodedata.category(character)
        if category in ("So", "Sm", "Sc"):
            plain = unicodedata.normalize("NFKD", character)
            if not plain.isalnum():
                return character if skeleton(character) else " "
            return plain.translate(self)
        if category[0] in "LNM":
            seen = _MARKS.sub("", skeleton(character))
            # The data take m for rn, which would make `burn` of `bum`.
            seen = "m" if seen == "rn" else _LEET.get(seen, seen)
            return "".join(one for one in seen if unicodedata.category(one)[0] in "LNM")
        return "" if category == "Cf" else " "


class _Gists(dict[int, str | None]):
    """Letters and symbols as in `_Folds`, and nothing else."""

    def __missing__(self, code: int) -> str | None:
        if len(self) >= _FOLDS:
            self.clear()
        is_counted = unicodedata.category(chr(code)) in ("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "So")
        gist = self[code] = _folds[code] if is_counted else None
        return gist


_folds = _Folds()
_gists = _Gists()


def _fold(text: str) -> str:
    """A text as it is compared: blanks around it, and single ones between words."""
    folded = f" {text} ".translate(_folds)
    return f" {' '.join(folded.split())} " if "  " in folded else folded


def _gist(text: str) -> str:
    """What two texts have in common that say nearly the same. The beginning does: a long text costs no more."""
    return text[:512].translate(_gists)[:128]


# Words


class _Entry(NamedTuple):
    """One entry of the word list, as its letters were written; `opens` and `closes` say that the word begins, and ends,
    with it."""

    letters: str
    opens: bool
    closes: bool
    kind: Kind


class _WordList:
    """The operator's words, found in one pass over the text (Aho and Corasick 1975), however many they are.

    The pass compares folds, which say that two characters may look alike: i is l there. What it finds is looked at
    again, letter by letter, so that `fall` is not found in `fail`.
    """

    __slots__ = ("_automaton",)

    def __init__(self, words: Mapping[str, Kind]) -> None:
        import ahocorasick  # type: ignore[import-not-found]  # it brings no types

        entries: dict[str, list[_Entry]] = {}
        letters: set[str] = set()
        for written, kind in words.items():
            entry = unicodedata.normalize("NFKC", written.strip())
            opens, closes = not entry.startswith("*"), not entry.endswith("*")
            # In capitals, too: the Cyrillic small letters look like other Latin ones than the capitals do.
            for spelled in dict.fromkeys((entry.strip("*").casefold(), entry.strip("*").upper())):
                folded, owners = _aligned(spelled)
                owned = "".join(spelled[owner] for owner in owners[1:-1])
                entries.setdefault(folded[1:-1], []).append(_Entry(owned, opens, closes, kind))
                letters |= {letter for letter in folded if letter.isalpha()}
        self._automaton = ahocorasick.Automaton()
        for letter in letters:  # found in the same pass, without cost: a word that is stretched
            self._automaton.add_word(3 * letter, ())
        for folded, alike in entries.items():
            self._automaton.add_word(folded, tuple(alike))
        self._automaton.make_automaton()

    def find(self, text: str) -> Kind:
        """The strictest verdict of the entries that are in the text."""
        if text.isascii():
            found = self._scan(text)
        else:
            text = unicodedata.normalize("NFKC", text)
            # As written, since capitals look like other letters than small ones; and in small letters, since mixed
            # ones are still the same word.
            found = _strictest((self._scan(text), self._scan(text.casefold())))
        if "@" in text or "$" in text or "!" in text or "|" in text:
            found = _strictest((found, self._scan(text.translate(_LEET_SYMBOLS))))
        return found

    def _scan(self, text: str, *, is_plain: bool = False) -> Kind:
        """`is_plain` says that nothing is spelled or stretched in it any more."""
        folded = _fold(text)
        found: Kind = "pass"
        is_stretched = False
        owners: Sequence[int] | None = None
        for end, entries in self._automaton.iter(folded):
            if not entries:
                is_stretched = True
            for entry in entries:
                if KINDS.index(entry.kind) > KINDS.index(found):
                    if owners is None:
                        folded, owners = _aligned(text)
                    if _stands(entry, text, owners, end + 1 - len(entry.letters), end + 1):
                        found = entry.kind
            if found == "refuse":
                return found
        if not is_plain and (is_stretched or _SPELLED.search(folded)):
            return _strictest((found, *(self._scan(plain, is_plain=True) for plain in _plainer(text))))
        return found


def _aligned(text: str) -> tuple[str, list[int]]:
    """The fold of a text, and from which of its characters each one comes; -1 and its length for the blanks around."""
    folded, owners = [" "], [-1]
    for place, character in enumerate(text):
        for one in _folds[ord(character)] or "":
            if one != " " or folded[-1] != " ":
                folded.append(one)
                owners.append(place)
    if folded[-1] == " " and len(folded) > 1:
        owners[-1] = len(text)
    else:
        folded.append(" ")
        owners.append(len(text))
    return "".join(folded), owners


def _stands(entry: _Entry, text: str, owners: Sequence[int], start: int, end: int) -> bool:
    """Whether what looks like the entry is it."""
    before, after = owners[start - 1], owners[end]
    first, last = owners[start], owners[end - 1]
    if before == first or after == last:  # half a syllable of Hangul, half a ligature
        return False
    if entry.opens and before >= 0 and _goes_on(text[before], text[first]):
        return False
    if entry.closes and after < len(text) and _goes_on(text[last], text[after]):
        return False
    written = [text[owner] for owner in owners[start:end]]
    if not all(map(_may_be, written, entry.letters)):
        return False
    # 455 is no word, and A55 a road.
    disguised = sum(one.isdigit() and not meant.isdigit() for one, meant in zip(written, entry.letters, strict=True))
    return 2 * disguised <= len(written)


def _goes_on(one: str, other: str) -> bool:
    """Whether the two are of one word."""
    return one.isalnum() and other.isalnum() and not (_UNSPACED.match(one) or _UNSPACED.match(other))


def _may_be(one: str, meant: str) -> bool:
    """Whether a character that folds like the one that is `meant` may stand for it: a digit stands for itself, and no
    letter for another of its own alphabet, but for the capital that looks like a small L."""
    if one == meant:
        return True
    if meant.isdigit():
        return False
    first, second = _base(one), _base(meant)
    if first == second or (one == "I" and second == "l"):
        return True
    return not any(low <= first <= high and low <= second <= high for low, high in _ALPHABETS)


def _base(character: str) -> str:
    return unicodedata.normalize("NFKD", character.casefold())[:1]


def _plainer(text: str) -> Iterator[str]:
    """The text with stretched letters cut to one, and to two; and the words that are spelled in either, whole."""
    for cut in dict.fromkeys((_STRETCHED.sub(r"\1", text), _STRETCHED.sub(r"\1\1", text))):
        yield cut
        folded, owners = _aligned(cut)
        for spelled in _SPELLED.finditer(folded):
            yield "".join(cut[owner] for owner in owners[spelled.start() + 1 : spelled.end() - 1 : 2])


# Links

_PIECE: Final = 512
"""Characters of a word that are looked at in one go: for 10,000 hostile ones linkify-it takes half a second."""

_OVERLAP: Final = 64
"""So that no link begins between two pieces."""

_LIKE_LINK = re.compile(r"//|\.\w")
_PERCENT = re.compile(r"%([2-7][0-9A-Fa-f])")
_AUTHORITY = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//(?:[^/?#]*@)?(\[[^\]]*\]|[^/?#:]*)", re.IGNORECASE)
_DOTS: Final = str.maketrans({"\\": "/", "\u3002": "."})
"""What browsers take for others in an address (WHATWG URL, 4.4; UTS #46, 4)."""

_MORE_ENDINGS: Final = (
    *("app", "click", "club", "dev", "icu", "link", "live"),
    *("online", "shop", "site", "store", "top", "vip", "xyz"),
)
"""Top-level domains beside the ones of linkify-it, which knows countries and the oldest ones."""


class _Links:
    """Where the links of a text lead."""

    __slots__ = ("_allowed", "_match")

    def __init__(self, hosts: frozenset[str]) -> None:
        from linkify_it import LinkifyIt  # type: ignore[import-untyped]

        finder = LinkifyIt(options={"fuzzy_link": True, "fuzzy_email": False, "fuzzy_ip": False})
        finder.tlds(list(_MORE_ENDINGS), keep_old=True)
        self._match: Callable[[str], Sequence[Any] | None] = finder.match
        self._allowed = frozenset(_host_name(host) for host in hosts)

    def has_foreign(self, text: str) -> bool:
        """Whether there is a link to a host that is not allowed."""
        if text.isascii():
            if "." not in text and "//" not in text and "\\\\" not in text:
                return False
        else:
            text = "".join(one for one in unicodedata.normalize("NFKC", text) if unicodedata.category(one) != "Cf")
        text = text.translate(_DOTS)
        if not _LIKE_LINK.search(text):
            return False
        for word in text.split():
            if "%" in word:
                word = _PERCENT.sub(lambda match: chr(int(match[1], 16)), word)
            for start in range(0, len(word), _PIECE - _OVERLAP):
                for link in self._match(word[start : start + _PIECE]) or ():
                    if link.schema != "mailto:" and not self._is_allowed(link.url):
                        return True
        return False

    def _is_allowed(self, url: str) -> bool:
        authority = _AUTHORITY.match(url)
        host = "" if authority is None else _host_name(authority[1])
        while host and host not in self._allowed:
            host = host.partition(".")[2]
        return bool(host)


def _host_name(host: str) -> str:
    return unicodedata.normalize("NFKC", host).casefold().strip(".")


# An outside classifier


@value
class Question:
    """What a classifier of the host app is asked before a text is said. `person` is the lasting id."""

    text: str
    person: str
    room: str
    opening: bool


@value
class Opinion:
    """What it answers. `labels` are its own words for the reasons, for moderators; the sender never sees them."""

    kind: Kind
    labels: tuple[str, ...] = ()


def combined(verdict: Verdict, answer: Opinion | None, fail_mode: Literal["pass", "hold"]) -> Verdict:
    """The verdict with a classifier's opinion in it: the stricter wins, so that it can't let pass what a rule stopped.

    `answer` is None where it failed or took too long: then the text passes as far as the classifier is concerned, or is
    held, as `fail_mode` says.
    """
    kind: Kind = fail_mode if answer is None else answer.kind
    reasons = ("unclassified",) if answer is None else ("classifier", *answer.labels)
    if kind == "pass":
        return verdict
    words = verdict.words or (_WORDS["classifier"] if kind == "refuse" else None)
    return Verdict(_strictest((verdict.kind, kind)), (*verdict.reasons, *reasons), words)

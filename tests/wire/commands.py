"""The commands of v1 as their dataclasses describe them: every field, and values for it."""

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from parlour.core.commands import AtMost, Command, History
from parlour.core.events import Reported
from parlour.wire.forms import COMMANDS

NEVER_EMPTY: Final = {"room", "key", "mid", "emoji", "person", "text"}
OPS: Final = {command: op for op, command in COMMANDS.items()}

FEWEST: Final[dict[str, dict[str, Any]]] = {
    "hello": {},
    "join": {"room": "public"},
    "leave": {"room": "public"},
    "send": {"room": "public", "key": "k1", "text": "hi"},
    "edit": {"room": "public", "mid": "m1", "text": "hi"},
    "delete": {"room": "public", "mid": "m1"},
    "react": {"room": "public", "mid": "m1", "emoji": "\U0001f98a"},
    "history": {"room": "public"},
    "typing": {"room": "public"},
    "read": {"room": "b1", "off": 3},
    "presence": {"room": "public"},
    "name": {"name": "ada"},
    "rooms": {},
    "match.find": {},
    "match.cancel": {},
    "match.next": {},
    "block": {"person": "p1"},
    "unblock": {"person": "p1"},
    "search": {"text": "tea"},
    "terms": {"version": "2026"},
    "report": {"room": "b1", "reason": "spam", "messages": [{"mid": "m1"}]},
    "mod.delete": {"room": "public", "mid": "m1"},
    "mod.kick": {"person": "p1"},
    "mod.mute": {"person": "p1"},
    "mod.unmute": {"person": "p1"},
    "mod.ban": {"person": "p1"},
    "mod.unban": {"person": "p1"},
    "mod.lock": {"room": "public"},
    "mod.slow": {"room": "public"},
    "ping": {},
    "pong": {},
}
"""By op, the fields of a command that can't be left out."""

MORE: Final[dict[str, dict[str, Any]]] = {
    "hello": {
        "token": "t",
        "session": "s",
        "resume": [{"room": "public", "epoch": "e1", "off": 7}],
        "name": "ada",
        "langs": ["en", "de"],
        "terms": "2026",
        "age": 18,
        "match": {"interests": ["go"], "langs": ["en"], "relax": "never", "key": "k1"},
        "client": {"name": "page", "version": "1.0"},
    },
    "send": {"reply_to": "m0"},
    "react": {"on": False},
    "history": {"before": 7, "limit": 100},
    "typing": {"on": False},
    "match.find": {"interests": ["go", "tea"], "langs": ["en"], "relax": "never", "key": "k1"},
    "match.next": {"interests": ["go"], "langs": [], "relax": "auto", "key": "k2"},
    "block": {"room": "b1"},
    "unblock": {"room": "b1"},
    "search": {"room": "public", "limit": 100},
    "terms": {"age": 18},
    "report": {
        "messages": [{"mid": "m1", "off": 7, "ts": 5, "from": "p1", "text": "hi", "stamp": "s1"}],
        "prev": "s0",
        "note": "twice",
        "block": True,
    },
    "mod.kick": {"reason": "spam"},
    "mod.mute": {"room": "public", "seconds": 60, "reason": "spam"},
    "mod.unmute": {"room": "public"},
    "mod.ban": {"seconds": 86_400, "reason": "spam"},
    "mod.lock": {"on": False},
    "mod.slow": {"seconds": 5},
}
"""By op, fields that may be left out."""


@dataclass(frozen=True)
class Field:
    """A field of a command: its `path` (`match.langs`), its type, its limit, and whether it may be left out."""

    op: str
    path: str
    base: Any
    most: int | None
    optional: bool
    least: int = 0

    def within(self, value: Any) -> dict[str, Any]:
        """A command that is sound but for this field, which has the value."""
        frame = whole(self.op)
        name, _, nested = self.path.partition(".")
        if not nested:
            if name in ("before", "after"):
                frame = {"id": 7, "op": self.op, **FEWEST[self.op]}
            return {**frame, name: value}
        if isinstance(frame[name], list):
            return {**frame, name: [frame[name][0] | {nested: value}]}  # the first item says it all
        return {**frame, name: frame[name] | {nested: value}}


def whole(op: str) -> dict[str, Any]:
    """A command with all its fields, but for `after`."""
    return {"id": 7, "op": op, **FEWEST[op], **MORE.get(op, {})}


def fields_of(op: str) -> list[Field]:
    """Every field of a command, and those of the objects within."""
    return list(_fields_in(COMMANDS[op], op, ""))


def bare(hint: Any) -> tuple[Any, int | None]:
    """A type without None, and its limit."""
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (one for one in get_args(hint) if one is not type(None))
    if get_origin(hint) is Annotated:
        base, *marks = get_args(hint)
        return base, next(mark.size for mark in marks if isinstance(mark, AtMost))
    return hint, None


WHOSE: Final = "whose"
"""The type of a field that takes an id, or the object with one as messages have it."""

REPORTED: Final[dict[str, tuple[Any, int | None]]] = {
    "mid": (str, None),
    "off": (int, None),
    "ts": (int, None),
    "from": (WHOSE, None),
    "text": (str, 10_000),
    "stamp": (str, None),
}
"""The fields of a message that is reported, with their types and limits; all but `mid` may be left out."""


def _fields_in(value_class: Any, op: str, path: str) -> Iterator[Field]:
    if value_class is Reported:
        for name, (base, most) in REPORTED.items():
            yield Field(op, path + name, base, most, name != "mid")
        return
    hints = get_type_hints(value_class, include_extras=True)
    for field in fields(value_class):
        base, most = bare(hints[field.name])
        least = 1 if base is int and most is not None and field.default != 0 else 0
        yield Field(op, path + field.name, base, most, field.default is not MISSING, least)
        inner = bare(get_args(base)[0])[0] if get_origin(base) is tuple else base
        if is_dataclass(inner) or inner is Reported:
            yield from _fields_in(inner, op, f"{path}{field.name}.")


ALL: Final = [field for op in COMMANDS for field in fields_of(op)]

_CHARACTERS: Final = st.characters(codec="utf-8", exclude_characters="\x00")
_SAYABLE: Final = st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")) | st.sampled_from("\t\n\r")


def _values(base: Any, most: int | None, name: str) -> st.SearchStrategy[Any]:
    if base is str:
        characters = _SAYABLE if name == "text" else _CHARACTERS
        said = st.text(characters, min_size=int(name in NEVER_EMPTY), max_size=min(most or 200, 200))
        return said.filter(lambda text: not text.isspace()) if name == "text" else said
    if base is int:
        return st.integers(1, most) if most else st.integers(0, 2**53)
    if base is bool:
        return st.booleans()
    if get_origin(base) is Literal:
        return st.sampled_from(get_args(base))
    if get_origin(base) is tuple:
        return st.lists(_values(*bare(get_args(base)[0]), name), max_size=min(most or 3, 3)).map(tuple)
    if base is Reported:
        ids, numbers = st.text(_CHARACTERS, max_size=200), st.integers(0, 2**53)
        text = st.none() | st.text(_CHARACTERS, max_size=200)
        return st.builds(Reported, st.text(_CHARACTERS, min_size=1, max_size=200), numbers, numbers, ids, text, ids)
    return values_of(base)


def values_of(value_class: Any) -> st.SearchStrategy[Any]:
    """Any value of a dataclass that the wire takes."""
    hints = get_type_hints(value_class, include_extras=True)
    arguments = {}
    for field in fields(value_class):
        base, most = bare(hints[field.name])
        value = _values(base, most, field.name)
        arguments[field.name] = value if field.default is MISSING else st.one_of(st.just(field.default), value)
    built = st.builds(value_class, **arguments)
    if value_class is History:
        return built.filter(lambda history: history.before is None or history.after is None)
    return built


any_commands: Final[st.SearchStrategy[Command]] = st.one_of(*map(values_of, COMMANDS.values()))

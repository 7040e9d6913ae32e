"""The commands of v1 as their dataclasses describe them: every field, and values for it."""

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from parlour.core.commands import AtMost, Command, History
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

    def within(self, value: Any) -> dict[str, Any]:
        """A command that is sound but for this field, which has the value."""
        frame = whole(self.op)
        name, _, nested = self.path.partition(".")
        if not nested:
            if name in ("before", "after"):
                frame = {"id": 7, "op": self.op, **FEWEST[self.op]}
            return {**frame, name: value}
        if isinstance(frame[name], list):
            return {**frame, name: [frame[name][0] | {nested: value}]}
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


def _fields_in(value_class: Any, op: str, path: str) -> Iterator[Field]:
    hints = get_type_hints(value_class, include_extras=True)
    for field in fields(value_class):
        base, most = bare(hints[field.name])
        yield Field(op, path + field.name, base, most, field.default is not MISSING)
        inner = bare(get_args(base)[0])[0] if get_origin(base) is tuple else base
        if is_dataclass(inner):
            yield from _fields_in(inner, op, f"{path}{field.name}.")


ALL: Final = [field for op in COMMANDS for field in fields_of(op)]

_CHARACTERS: Final = st.characters(codec="utf-8", exclude_characters="\x00")


def _values(base: Any, most: int | None, name: str) -> st.SearchStrategy[Any]:
    if base is str:
        said = st.text(_CHARACTERS, min_size=int(name in NEVER_EMPTY), max_size=min(most or 200, 200))
        return said.filter(lambda text: not text.isspace()) if name == "text" else said
    if base is int:
        return st.integers(1, most) if most else st.integers(0, 2**53)
    if base is bool:
        return st.booleans()
    if get_origin(base) is Literal:
        return st.sampled_from(get_args(base))
    if get_origin(base) is tuple:
        return st.lists(_values(*bare(get_args(base)[0]), name), max_size=min(most or 3, 3)).map(tuple)
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

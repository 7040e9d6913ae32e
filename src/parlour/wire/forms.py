"""How the commands of v1 are read: a form for each, made from the fields of the command itself.

A form knows every limit, so what it takes is what its JSON Schema describes.
"""

import re
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass, replace
from types import GenericAlias, UnionType
from typing import Annotated, Any, ClassVar, Final, Literal, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from parlour.core.commands import (
    ID_LIMIT,
    AtMost,
    Block,
    Cancel,
    Command,
    Delete,
    Edit,
    Find,
    Hello,
    History,
    Join,
    Leave,
    ModBan,
    ModDelete,
    ModKick,
    ModLock,
    ModMute,
    ModSlow,
    ModUnban,
    ModUnmute,
    Next,
    Ping,
    Pong,
    Presence,
    React,
    Read,
    Rename,
    Report,
    Rooms,
    Search,
    Send,
    Terms,
    Typing,
    Unblock,
)
from parlour.core.events import Reported, value
from parlour.core.moderation import TEXT_LIMIT
from parlour.errors import Refusal
from parlour.wire.strict import without_controls

COMMANDS: Final[dict[str, type[Command]]] = {
    "hello": Hello,
    "join": Join,
    "leave": Leave,
    "send": Send,
    "edit": Edit,
    "delete": Delete,
    "react": React,
    "history": History,
    "typing": Typing,
    "read": Read,
    "presence": Presence,
    "name": Rename,
    "rooms": Rooms,
    "match.find": Find,
    "match.cancel": Cancel,
    "match.next": Next,
    "block": Block,
    "unblock": Unblock,
    "search": Search,
    "terms": Terms,
    "report": Report,
    "mod.delete": ModDelete,
    "mod.kick": ModKick,
    "mod.mute": ModMute,
    "mod.unmute": ModUnmute,
    "mod.ban": ModBan,
    "mod.unban": ModUnban,
    "mod.lock": ModLock,
    "mod.slow": ModSlow,
    "ping": Ping,
    "pong": Pong,
}
"""Every `op`, and what it means."""

UNNUMBERED: Final = frozenset({"typing", "read", "pong"})
"""Commands that need no `id`, for nobody waits for the answer."""

NUMBER_LIMIT: Final = 2**53
"""Up to here, either way, every JSON reader keeps an integer as it is (RFC 8259 6)."""

SHAPE: Final = 'send a JSON object with "id" and "op"'

_NEVER_EMPTY: Final = frozenset({"room", "key", "mid", "emoji", "person", "text"})

_ANY_TEXT: Final = "messages.text"
"""Who reports a message says what it said, which on the plain wire may be nothing."""

_VISIBLE: Final = r"[^\s\u0000-\u001f\u007f-\u009f]"
"""What a text holds at least one of."""

_RENAMED: Final = {"sender": "from"}
"""Fields that are called otherwise on the wire."""

_PATH = re.compile(r" - at `\$\.?([\w.\[\]]*)`\Z")
_ITEM = re.compile(r"\[[^\]]*\]")
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_TOO_LONG = re.compile(r"Expected `(str|array)` of length <= (\d+)")
_TOO_SHORT = re.compile(r"Expected `str` of length >=")
"""msgspec's words. A value that was sent may stand in them, but neither at their beginning nor at their end."""


class Fields(msgspec.Struct, gc=False):
    """The fields of one dataclass as they are sent. A field that may be left out may be null as well."""

    value_class: ClassVar[type[Any]]
    special: ClassVar[dict[int, Any]]
    """By their places, fields that are not taken as they are: what stands for null there."""

    def value(self) -> Any:
        """The dataclass, or named tuple."""
        values: Any = msgspec.structs.astuple(self)
        if self.special:
            values = list(values)
            for at, default in self.special.items():
                values[at] = default if values[at] is None else _value(values[at])
        return self.value_class(*values)


def _value(field: Any) -> Any:
    if isinstance(field, Fields):
        return field.value()
    return tuple(map(_value, field)) if isinstance(field, tuple) else field


class Whose(Fields):
    """Somebody, as messages have it. Only the `id` counts."""

    value_class = str
    special: ClassVar[dict[int, Any]] = {}

    id: Annotated[str, msgspec.Meta(max_length=ID_LIMIT)]


@value
class _Reported:
    """A message to be reported, with the fields that it had when it came; see `core.events.Reported`."""

    mid: str
    off: int = 0
    ts: int = 0
    sender: Whose | str = ""
    text: Annotated[str, AtMost(TEXT_LIMIT)] | None = None
    stamp: str = ""


_DESCRIBED: Final[dict[type[Any], type[Any]]] = {Reported: _Reported}
"""Named tuples, and what tells how their fields are sent."""


def explained(error: str, must: dict[str, str]) -> Refusal:
    """A refusal in our words for msgspec's, which name a field as `$.field`."""
    found = _PATH.search(error)
    path = "" if found is None else _ITEM.sub("", found[1])
    if missing := _MISSING.match(error):
        path = f"{path}.{missing[1]}".lstrip(".")
        return Refusal("bad_field", f'"{path}" is missing; it must be {must[path]}', field=path)
    if not path:
        return Refusal("bad_frame", SHAPE)
    if much := _TOO_LONG.match(error):
        problem = f"is longer than {much[2]} characters; shorten it"
        if much[1] == "array":
            problem = f"has more than {much[2]} items; leave some out"
        return Refusal("too_large", f'"{path}" {problem}', field=path)
    if _TOO_SHORT.match(error):
        return _empty(path)
    return Refusal("bad_field", f'"{path}" must be {must[path]}', field=path)


def _empty(field: str) -> Refusal:
    return Refusal("bad_field", f'"{field}" must not be empty', field=field)


def _said(command: Any) -> Any:
    """A text as it is passed on, which must show something."""
    text = without_controls(command.text)
    if text.isspace():
        return _empty("text")
    return command if text is command.text else replace(command, text=text)


def _one_way(command: Any) -> Refusal | None:
    if command.before is None or command.after is None:
        return None
    return Refusal("bad_field", '"before" and "after" exclude each other; leave one out', field="after")


_RULES: Final[dict[type[Command], Callable[[Any], Refusal | Command | None]]] = {
    Send: _said,
    Edit: _said,
    Search: _said,
    History: _one_way,
}
"""What the type of one field can't say: why the command is refused, or another one in its place."""


class Form:
    """How one command is read.

    `fields` holds it without `id` and `op`; `parts` are that and the objects within. `must` says what each field has to
    be, by its path; an item of a list has the path of the list.
    """

    def __init__(self, op: str) -> None:
        command = COMMANDS[op]
        self.must: dict[str, str] = {}
        self.parts: list[type[Fields]] = []
        self.needs_id = op not in UNNUMBERED
        self.fields = self._fields_of(command, f"command.{op}", "")
        self._decode = msgspec.json.Decoder(self.fields).decode
        self._rule = _RULES.get(command)

    def read(self, text: str) -> Command | Refusal:
        """The command that a frame holds, which is known to be a JSON object."""
        try:
            command: Command = self._decode(text).value()
        except msgspec.DecodeError as error:
            return explained(str(error), self.must)
        return command if self._rule is None else self._rule(command) or command

    def _fields_of(self, value_class: type[Any], name: str, path: str) -> type[Fields]:
        """What decodes a dataclass; `path` is where it stands in the command."""
        described = _DESCRIBED.get(value_class, value_class)
        hints = get_type_hints(described, include_extras=True)
        made: list[Any] = []
        special: dict[int, Any] = {}
        for at, field in enumerate(fields(described)):
            base, most = _bare(hints[field.name])
            default = None if field.default is MISSING else field.default
            at_path = path + _RENAMED.get(field.name, field.name)
            form, self.must[at_path] = self._form_of(base, most, at_path, default)
            made.append((field.name, form) if field.default is MISSING else (field.name, form | None, None))
            if default is not None or is_dataclass(base) or get_origin(base) is tuple:
                special[at] = default
        namespace = {"value_class": value_class, "special": special, "__doc__": described.__doc__}
        struct = msgspec.defstruct(
            name, made, bases=(Fields,), namespace=namespace, module=__name__, rename=_RENAMED, gc=False
        )
        self.parts.append(cast(type[Fields], struct))
        return self.parts[-1]

    def _form_of(self, base: Any, most: int | None, path: str, default: object = None) -> tuple[Any, str]:
        """What msgspec holds a field to, and that in words."""
        name = path.rpartition(".")[2]
        if base is Whose:
            self.parts.append(Whose)
            self.must[f"{path}.id"] = "a string"
            return Annotated[str, msgspec.Meta(max_length=ID_LIMIT)] | Whose, 'a string, or an object with an "id"'
        if base is str:
            least = 1 if name in _NEVER_EMPTY and path != _ANY_TEXT else None
            visible = {"pattern": _VISIBLE} if name == "text" and path != _ANY_TEXT else None
            limits = msgspec.Meta(min_length=least, max_length=most or ID_LIMIT, extra_json_schema=visible)
            return Annotated[str, limits], "a string"
        if base is int:
            # A number with a limit of its own is a number of things; the others are places and times.
            least = 0 if most is None or default == 0 else 1
            most = NUMBER_LIMIT if most is None else most
            return Annotated[int, msgspec.Meta(ge=least, le=most)], f"an integer from {least} to {most}"
        if base is bool:
            return bool, "true or false"
        if get_origin(base) is Literal:
            return base, " or ".join(f'"{word}"' for word in get_args(base))
        if get_origin(base) is tuple:
            item, words = self._form_of(*_bare(get_args(base)[0]), path)
            several = GenericAlias(tuple, (item, ...))
            return Annotated[several, msgspec.Meta(max_length=most)], f"a list, each item {words}"
        return self._fields_of(base, base.__name__, f"{path}."), "an object"


def _bare(hint: Any) -> tuple[Any, int | None]:
    """The type without `None` and `AtMost`, and the limit that this sets; `Whose` without the text beside it."""
    if get_origin(hint) in (Union, UnionType):
        hint = next(one for one in get_args(hint) if one is not type(None))
    if get_origin(hint) is not Annotated:
        return hint, None
    base, *marks = get_args(hint)
    return base, next((mark.size for mark in marks if isinstance(mark, AtMost)), None)


FORMS: Final = {op: Form(op) for op in COMMANDS}

"""The JSON Schema of v1 (draft 2020-12), made from what reads and writes it.

`python -m parlour.wire.schema` prints it.
"""

import json
from inspect import cleandoc
from typing import Any, Final

import msgspec

from parlour.wire import shapes
from parlour.wire.forms import FORMS, NUMBER_LIMIT, Form

_DEFINITION: Final = "#/$defs/"


def schema() -> dict[str, Any]:
    """The schema of any frame. Its `$defs` have `command.OP`, `reply.OP`, `event.EV` and `refused`; `command`, `reply`
    and `event` for any of a kind; and the objects that these share."""
    forms = [form.fields for form in FORMS.values()]
    replies = {op: shapes.REPLIES.get(op, shapes.Reply) for op in FORMS}
    structs = [*forms, *shapes.EVENTS, *replies.values(), shapes.Refused, shapes.Seat, shapes.Gone]
    _, made = msgspec.json.schema_components(dict.fromkeys(structs), ref_template=_DEFINITION + "{name}")
    for op, form in FORMS.items():
        _complete(made, op, form)
    history = made["command.history"]
    history["not"] = {
        "required": ["before", "after"],
        "properties": {"before": {"type": "integer"}, "after": {"type": "integer"}},
    }
    events = {f"event.{event.__struct_config__.tag}": made.pop(event.__name__) for event in shapes.EVENTS}
    refused = made.pop(shapes.Refused.__name__)
    for part in (*made.values(), *events.values(), refused):
        _tidy(part)
    read = {part.__name__ for form in FORMS.values() for part in form.parts}
    for name, part in (*made.items(), *events.items(), ("refused", refused)):
        if name not in read:
            _never_null(part)
    commands = {name: made.pop(name) for name in [f"command.{op}" for op in FORMS]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Parlour v1",
        "description": "Any frame of the WebSocket subprotocol parlour.v1.json. Unknown fields are to be ignored.",
        "anyOf": [_reference(kind) for kind in ("command", "reply", "event")],
        "$defs": {
            "command": {"oneOf": [_reference(name) for name in commands]},
            "reply": {"anyOf": [_reference(name) for name in ("refused", *(f"reply.{op}" for op in FORMS))]},
            "event": {"oneOf": [_reference(name) for name in events]},
            **commands,
            **{f"reply.{op}": _reference(reply.__name__) for op, reply in replies.items()},
            "refused": refused,
            **events,
            **made,
        },
    }


def _complete(made: dict[str, dict[str, Any]], op: str, form: Form) -> None:
    """What the structs of a command don't say: its head, and what a field that is left out stands for."""
    for part in form.parts:
        for at, default in part.special.items():
            if default is not None:
                field = part.__struct_fields__[at]
                made[part.__name__]["properties"][field]["default"] = msgspec.to_builtins(default)
    command = made[f"command.{op}"]
    number = {"type": "integer", "minimum": -NUMBER_LIMIT, "maximum": NUMBER_LIMIT}
    head = {"id": number if form.needs_id else {"anyOf": [number, {"type": "null"}]}, "op": {"enum": [op]}}
    command["properties"] = {**head, **command["properties"]}
    command["required"] = [*(["id"] if form.needs_id else []), "op", *command["required"]]


def _tidy(part: dict[str, Any]) -> None:
    """Leave out titles, which repeat the names, and the line breaks of docstrings; null comes last, whichever order
    this version of msgspec has."""
    del part["title"]
    for field in part["properties"].values():
        if "anyOf" in field:
            field["anyOf"].sort(key=lambda one: one == {"type": "null"})
    part["description"] = cleandoc(part["description"]).replace("\n", " ")


def _never_null(part: dict[str, Any]) -> None:
    """What the server has no value for is left out."""
    for name, field in part["properties"].items():
        if field.get("default", ...) is None:
            (part["properties"][name],) = (one for one in field["anyOf"] if one != {"type": "null"})


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"{_DEFINITION}{name}"}


def document() -> str:
    """The schema as the text of docs/v1.schema.json."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(document(), end="")

"""The JSON Schema of v1 (draft 2020-12), made from what reads and writes it, and an AsyncAPI document (3.0) that says
where it is spoken.

`python -m parlour.wire.schema` prints the one, `python -m parlour.wire.schema --asyncapi` the other.
"""

import json
import sys
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
                field = part.__struct_encode_fields__[at]
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
            field["anyOf"].sort(key=lambda one: (one == {"type": "null"}, "$ref" in one))
    part["description"] = cleandoc(part["description"]).replace("\n", " ")


def _never_null(part: dict[str, Any]) -> None:
    """What the server has no value for is left out."""
    for name, field in part["properties"].items():
        if field.get("default", ...) is None:
            (part["properties"][name],) = (one for one in field["anyOf"] if one != {"type": "null"})


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"{_DEFINITION}{name}"}


_DRAFT: Final = "application/schema+json;version=draft-2020-12"

_PLACES: Final = {
    "public": ("/chat/public", "The public room: everyone hears everyone."),
    "private": ("/chat/private", "A booth with one other client, chosen at random."),
    "chat": ("/chat", "Nowhere yet: a client says where it wants to be. v1 only."),
    "room": ("/chat/rooms/{name}", "The public room of this name. v1 only."),
}

_SAID: Final = ("command", "line")
_V1_ONLY: Final = frozenset({"chat", "room"})
_PLAIN: Final = frozenset({"line", "heard"})


def asyncapi() -> dict[str, Any]:
    """Both wires as AsyncAPI 3.0: the channels, and what goes each way. Of v1, the JSON Schema has all the rest."""
    messages = {
        "command": _message("v1: what a client says", "command"),
        "reply": _message("v1: the answer to a command", "reply"),
        "event": _message("v1: what happens", "event"),
        "line": {
            "summary": "plain: what a client says",
            "payload": {
                "type": "object",
                "required": ["username", "message"],
                "properties": {name: {"type": ["string", "number"]} for name in ("username", "message")},
            },
        },
        "heard": {
            "summary": "plain: one line, `username> message`; what begins with `! ` is for this client alone",
            "contentType": "text/plain",
            "payload": {"type": "string"},
        },
    }
    spoken = {place: [name for name in messages if not (place in _V1_ONLY and name in _PLAIN)] for place in _PLACES}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Parlour",
            "version": "1",
            "description": (
                "WebSocket. With the subprotocol parlour.v1.json: v1, one JSON object in each text frame, both ways. "
                "With none: plain, JSON in and lines of text out. protocol.md is the reference."
            ),
        },
        "defaultContentType": "application/json",
        "channels": {place: _channel(place, spoken[place]) for place in _PLACES},
        "operations": {
            f"{'hear' if action == 'send' else 'say'}.{place}": {
                "action": action,
                "channel": {"$ref": f"#/channels/{place}"},
                "messages": [
                    {"$ref": f"#/channels/{place}/messages/{name}"}
                    for name in spoken[place]
                    if (name in _SAID) is (action == "receive")
                ],
            }
            for place in _PLACES
            for action in ("receive", "send")
        },
        "components": {"messages": messages},
    }


def _message(summary: str, definition: str) -> dict[str, Any]:
    schema = {"$ref": f"./v1.schema.json{_DEFINITION}{definition}"}
    return {"summary": summary, "payload": {"schemaFormat": _DRAFT, "schema": schema}}


def _channel(place: str, names: list[str]) -> dict[str, Any]:
    address, description = _PLACES[place]
    parameters = {"parameters": {"name": {"description": "The room."}}} if "{name}" in address else {}
    messages = {name: {"$ref": f"#/components/messages/{name}"} for name in names}
    return {"address": address, "description": description, **parameters, "messages": messages}


def document() -> str:
    """The schema as the text of docs/v1.schema.json."""
    return _text(schema())


def asyncapi_document() -> str:
    """`asyncapi` as the text of docs/asyncapi.json."""
    return _text(asyncapi())


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(asyncapi_document() if "--asyncapi" in sys.argv[1:] else document(), end="")

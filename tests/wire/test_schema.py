"""The schema of v1 and the AsyncAPI document are those that are published; they and docs/protocol.md speak of the same
things."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from parlour.wire.forms import COMMANDS
from parlour.wire.schema import asyncapi, asyncapi_document, document, schema
from parlour.wire.v1 import SUBPROTOCOL
from tests.wire.schemas import check

DOCS: Final = Path(__file__).parent.parent.parent / "docs"
PROTOCOL: Final = (DOCS / "protocol.md").read_text()

DEFINITIONS: Final[dict[str, Any]] = schema()["$defs"]


def test_the_published_schema_is_made_from_the_code() -> None:
    published = (DOCS / "v1.schema.json").read_text()
    assert published == document(), "renew it: python -m parlour.wire.schema > docs/v1.schema.json"


def test_the_schema_is_one() -> None:
    """Each reference leads somewhere; that the rest keeps the rules of draft 2020-12 is looked at by `check`."""
    for reference in re.findall(r'"\$ref": "#/\$defs/([^"]+)"', document()):
        assert reference in DEFINITIONS
    assert f"subprotocol {SUBPROTOCOL}" in schema()["description"]


def test_the_published_asyncapi_is_made_from_the_code() -> None:
    published = (DOCS / "asyncapi.json").read_text()
    assert published == asyncapi_document(), "renew it: python -m parlour.wire.schema --asyncapi > docs/asyncapi.json"


def test_each_reference_of_the_asyncapi_leads_somewhere() -> None:
    for reference in re.findall(r'"\$ref": "([^"]+)"', asyncapi_document()):
        file, _, path = reference.partition("#/")
        assert file in ("", "./v1.schema.json")
        found: Any = schema() if file else asyncapi()
        for step in path.split("/"):
            found = found[step]


def test_the_asyncapi_has_every_endpoint() -> None:
    """Those of the table in docs/protocol.md, with the plain wire where it is spoken."""
    endpoints = re.findall(r"^\| `(/chat[^`]*)` \|", PROTOCOL, re.MULTILINE)
    channels = {channel["address"]: channel["messages"] for channel in asyncapi()["channels"].values()}
    assert list(channels) == endpoints
    assert {address for address, messages in channels.items() if "line" in messages} == {
        "/chat/public",
        "/chat/private",
    }


@pytest.mark.parametrize("frame", [{"id": 7, "op": "ping"}, {"re": 7, "ok": True, "ts": 5}, {"ev": "ping"}])
def test_any_frame_is_one_of_a_kind(frame: Any) -> None:
    check(frame)


@pytest.mark.parametrize("frame", [{"id": 7, "op": "dance"}, {"ev": "message"}, {"re": 7, "ok": False}, {}, [], "ping"])
def test_what_is_no_frame(frame: Any) -> None:
    with pytest.raises(AssertionError):
        check(frame)


# The tables of docs/protocol.md

FIELD: Final = re.compile(r"`(\w+\??)`")


def section(heading: str) -> str:
    """What stands under a heading, up to the next."""
    found = re.search(rf"^### {heading}\n(.*?)(?=^##)", PROTOCOL, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/protocol.md has no heading {heading}"
    return found[1]


def tables(heading: str) -> Iterator[list[list[str]]]:
    """The rows of each table under a heading, as cells, without its head."""
    for table in re.findall(r"(?:^\|.*\n)+", section(heading), re.MULTILINE):
        yield [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]


def hello() -> list[set[str]]:
    """The fields of the command, and of its reply."""
    return [{field for row in table for field in FIELD.findall(row[0])} for table in tables("Hello")]


@cache
def documented_commands() -> dict[str, tuple[set[str], set[str]]]:
    """By op, the fields of the command and of its reply, with `?` behind those that may be left out."""
    (rows,) = tables("Commands")
    found: dict[str, tuple[set[str], set[str]]] = {}
    for op, sent, reply in rows:
        name = op.strip("`")
        if name == "hello":
            command, answer = hello()
            found[name] = (command, answer)
        elif like := re.fullmatch("as `(.*)`", sent):
            found[name] = (found[like[1]][0], set(FIELD.findall(reply)))
        else:
            found[name] = (
                set(FIELD.findall(re.sub(r"\([^)]*\)", "", sent))),
                set(FIELD.findall(reply.partition(":")[0])),
            )
    return found


def fields_of(definition: dict[str, Any], *without: str) -> set[str]:
    """The fields of an object of the schema, with `?` behind those that may be left out."""
    while "$ref" in definition:
        definition = DEFINITIONS[definition["$ref"].rpartition("/")[2]]
    return {
        name if name in definition["required"] else f"{name}?"
        for name in definition["properties"]
        if name not in without
    }


def test_the_protocol_names_every_command() -> None:
    """With exactly the fields that are read, and those of its reply."""
    documented = documented_commands()
    assert documented.keys() == COMMANDS.keys()
    for op, (sent, reply) in documented.items():
        assert fields_of(DEFINITIONS[f"command.{op}"], "id", "op") == sent, op
        assert fields_of(DEFINITIONS[f"reply.{op}"], "re", "ok") == reply, op


def test_the_protocol_names_every_event() -> None:
    """With exactly the fields that are written."""
    (rows,) = tables("Events")
    documented = {ev.strip("`"): set(FIELD.findall(sent)) for ev, sent, _ in rows}
    events = [name.removeprefix("event.") for name in DEFINITIONS if name.startswith("event.")]
    assert sorted(documented) == sorted(events)
    for ev, sent in documented.items():
        assert fields_of(DEFINITIONS[f"event.{ev}"], "ev") == sent, ev


def test_the_examples_of_the_protocol_are_sound() -> None:
    """Each line of JSON in the section on v1 is a frame by the schema."""
    v1 = PROTOCOL.partition("\n## v1\n")[2].partition("\n## ")[0]
    examples = re.findall(r"^    (\{.*\})$", v1, re.MULTILINE)
    assert examples
    for example in examples:
        check(json.loads(example))

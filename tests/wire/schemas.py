"""Holds JSON values to the schema of v1, by a validator that shares nothing with what made it."""

from functools import cache
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from parlour.wire.schema import schema


@cache
def _validator(name: str | None) -> Any:
    whole = schema()
    Draft202012Validator.check_schema(whole)
    if name is None:
        return Draft202012Validator(whole)
    assert name in whole["$defs"], f"the schema has no {name}"
    return Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": whole["$defs"]})


def check(value: Any, name: str | None = None) -> None:
    """That the value is what `$defs` say under this name, or any frame."""
    wrong = [f"{error.json_path}: {error.message}" for error in _validator(name).iter_errors(value)]
    assert not wrong, "\n".join(wrong)

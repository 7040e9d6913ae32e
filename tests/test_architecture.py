"""Which module may import what: docs/design.md, "Layout", held to the letter.

The table stands in the order of direction: a row names only rows above it. `core.*` means every row that begins so.
Third parties are named by what is imported (`pydantic_core`), the standard library not at all, except in core.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "parlour"


@dataclass(frozen=True)
class May:
    """What one module may import: modules of parlour at its top, third parties anywhere, and more inside functions."""

    parlour: str = ""
    third: str = ""
    inside: str = ""


EVERYTHING = (
    "errors settings core.* wire wire.* engine engine.* store store.* hub transport.* web.* keyfile identity desk "
    "operators notify app serve client client.* testing testing.* admin doctor cli"
)

TABLE = {
    "errors": May(),
    "logs": May(),
    "tally": May(),
    "settings": May("errors", "platformdirs pydantic pydantic_core pydantic_settings"),
    "core.moderation": May("errors"),
    "core.events": May("core.moderation errors"),
    "core.confusables": May(),
    "core.names": May("errors", inside="core.confusables"),
    "core.keys": May(),
    "core.tickets": May("core.keys"),
    "core.filter": May("core.events core.moderation core.names", "ahocorasick linkify_it"),
    "core.penalties": May("core.events errors"),
    "core.evidence": May("core.events core.keys"),
    "core.gate": May("core.events errors"),
    "core.records": May("core.events"),
    "core.commands": May("core.events core.moderation"),
    "core.policy": May("core.events core.filter core.gate core.moderation core.penalties errors"),
    "core.house": May("core.events core.keys core.names core.policy"),
    "core.connection": May("core.events core.commands core.house core.moderation errors"),
    "core.plain": May("core.events core.commands core.connection core.gate core.house core.moderation errors"),
    "core.session": May(
        "core.events core.commands core.connection core.gate core.house core.keys core.moderation core.names "
        "core.penalties errors"
    ),
    "core.room": May("core.events core.keys core.names core.penalties core.records errors"),
    "core.pairing": May("core.events"),
    "wire.contract": May("core.* errors"),
    "wire.strict": May(),
    "wire.plain": May("wire.contract wire.strict core.* errors", "msgspec"),
    "wire.forms": May("wire.strict core.* errors", "msgspec"),
    "wire.shapes": May("", "msgspec"),
    "wire.v1": May("wire.contract wire.strict wire.forms wire.shapes core.* errors", "msgspec"),
    "wire.schema": May("wire.forms wire.shapes", "msgspec"),
    "wire": May("wire.contract wire.plain wire.v1"),
    "engine": May("core.* errors"),
    "store": May("core.events core.records errors"),
    "store.queue": May("core.events engine store"),
    "store.tables": May("core.events core.records", "sqlalchemy"),
    "store.database": May("engine store", "aiosqlite alembic sqlalchemy"),
    "store.sql": May("core.events core.records engine store store.queue store.tables store.database", "sqlalchemy"),
    "store.migrations.env": May("", "alembic"),
    "store.migrations.versions.r0001_first": May("", "alembic sqlalchemy"),
    "engine.memory": May("engine store core.* errors logs"),
    "hub": May("core.* wire.contract engine errors logs tally"),
    "transport.asgi": May("hub errors", "starlette"),
    "transport.uvicorn": May("hub wire.contract errors", "starlette uvicorn websockets"),
    "transport.http": May("", "uvicorn"),
    "web.door": May("core.* settings errors", "starlette"),
    "web.history": May("core.* engine web.door wire errors", "starlette"),
    "web.metrics": May("engine hub store web.door settings errors tally", "prometheus_client starlette"),
    "web.routes": May("core.* wire wire.* hub transport.asgi web.door settings errors logs tally", "starlette"),
    "keyfile": May("core.keys errors"),
    "identity": May("core.events settings errors", "jwt"),
    "notify": May(),
    "desk": May("core.* engine store errors logs"),
    "operators": May("core.events core.keys core.moderation core.records core.tickets desk store errors", "argon2"),
    "web.shapes": May("core.commands core.moderation core.tickets desk operators", "fastapi pydantic"),
    "web.admin": May("core.* desk operators store web.door web.shapes settings errors logs", "fastapi starlette"),
    "app": May(
        "errors logs tally settings keyfile identity notify desk operators core.* wire wire.* engine engine.* store "
        "store.sql hub transport.* web.*",
        "fastapi filelock starlette",
    ),
    "serve": May(
        "app errors keyfile logs settings hub store wire.contract", "fastapi uvicorn", inside="transport.http"
    ),
    "client.session": May("core.events core.moderation errors"),
    "client": May("client.session core.events errors", "websockets"),
    "client.terminal": May("client client.session core.events errors"),
    "testing.network": May("core.connection hub wire.contract errors"),
    "testing.clients": May("testing.network core.connection errors"),
    "testing.kit": May("testing.clients core.* wire engine engine.memory hub errors settings"),
    "testing": May("testing.clients testing.kit"),
    "doctor": May("settings keyfile store store.database errors", "filelock"),
    "admin": May("settings core.* store errors", "filelock typer", inside="keyfile operators app doctor"),
    "cli": May("admin errors", "typer", inside="settings client client.terminal serve"),
    "__main__": May("cli"),
    "__init__": May(EVERYTHING, inside=EVERYTHING),
}

FOR_APP_ALONE = {"transport.uvicorn", "transport.http", "engine.redis", "store.sql"}
"""Implementations that need a particular server or database: whoever else imports one makes everyone need it."""

PURE = {
    *(
        "__future__",
        "abc",
        "collections",
        "collections.abc",
        "dataclasses",
        "enum",
        "itertools",
        "math",
        "re",
        "typing",
    ),
    *("base64", "binascii", "hashlib", "hmac", "ipaddress", "json", "unicodedata"),
}
"""What core may use of the standard library: nothing with a loop, socket, clock, chance or log in it."""

NO_FOLDERS = {"managers", "services", "utils", "schemas", "models", "helpers", "common"}


@dataclass(frozen=True)
class Import:
    """One imported module; `inside` says that a function does it, `line` where."""

    module: str
    line: int
    inside: bool


def module_files() -> dict[str, Path]:
    """Modules by their name below parlour. A folder that holds no more than its docstring needs no row."""
    files = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
            body = ast.parse(path.read_text()).body
            if all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body):
                continue
        files[".".join(parts)] = path
    return files


FILES = module_files()
PACKAGES = {".".join(path.relative_to(SOURCE).parts) for path in SOURCE.rglob("*") if path.is_dir()}


def imports(name: str) -> Iterator[Import]:
    """Everything that a module imports. `from parlour.core import events` counts as `parlour.core.events`."""

    def walk(node: ast.AST, inside: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(alias.name, child.lineno, inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{name}:{child.lineno}: a relative import; write the whole name"
                assert child.module is not None
                for alias in child.names:
                    whole = f"{child.module}.{alias.name}"
                    is_module = whole.removeprefix("parlour.") in {*FILES, *PACKAGES}
                    yield Import(whole if is_module else child.module, child.lineno, inside)
            else:
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, inside or function)

    yield from walk(ast.parse(FILES[name].read_text(), FILES[name].name), False)


def named(words: str) -> set[str]:
    """The rows that a cell names."""
    rows = set()
    for word in words.split():
        pattern = re.escape(word).replace(r"\*", r"[\w.]+")
        rows |= {row for row in TABLE if re.fullmatch(pattern, row)}
    return rows


def ours(imported: Import) -> str | None:
    """The row of an import, None if it is another's. The package itself is the row `__init__`."""
    if imported.module == "parlour":
        return "__init__"
    return imported.module.removeprefix("parlour.") if imported.module.startswith("parlour.") else None


def test_every_module_has_its_row() -> None:
    new, gone = sorted(FILES.keys() - TABLE.keys()), sorted(TABLE.keys() - FILES.keys())
    assert not new, (
        f"{new} in src/parlour but not in TABLE of tests/test_architecture.py. Is there a module that could hold it? "
        "If not, add a row with what it may import, and a line to docs/design.md, Layout."
    )
    assert not gone, f"{gone} in TABLE of tests/test_architecture.py but not in src/parlour: remove the rows."


def test_the_table_has_a_direction() -> None:
    """A row names only rows above it, so that no circle can be allowed."""
    order = list(TABLE)
    for place, (name, may) in enumerate(TABLE.items()):
        for word in f"{may.parlour} {may.inside}".split():
            assert named(word), f"row {name}: {word} is no row"
        below = (named(may.parlour) | named(may.inside)) - set(order[:place])
        assert not below, f"row {name} names {sorted(below)}, which stand below it"


@pytest.mark.parametrize("name", FILES)
def test_a_module_imports_only_what_its_row_allows(name: str) -> None:
    may = TABLE.get(name, May())
    for imported in imports(name):
        top = imported.module.partition(".")[0]
        row = ours(imported)
        at = f"{FILES[name].relative_to(ROOT)}:{imported.line} imports {imported.module}"
        advice = (
            "Move the code to where it belongs, or change docs/design.md and the row in tests/test_architecture.py."
        )
        if row is not None:
            allowed = named(may.parlour) | (named(may.inside) if imported.inside else set())
            late = " at its top: import it inside the function that needs it." if row in named(may.inside) else "."
            assert row in allowed, f"{at}{late} Its row allows {sorted(allowed)}. {advice}"
        elif top not in sys.stdlib_module_names:
            assert top in may.third.split(), f"{at}. Its row allows {may.third or 'no third party'}. {advice}"


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("core.")])
def test_core_is_pure(name: str) -> None:
    """Time, choice and ids are arguments: no loop, socket, clock, chance or log can be reached."""
    third = TABLE.get(name, May()).third.split()  # the filter's, which search a text and do nothing else
    for imported in imports(name):
        assert imported.module in (*PURE, *third) or imported.module.startswith("parlour."), (
            f"{FILES[name].relative_to(ROOT)}:{imported.line} imports {imported.module}, but core is pure: "
            f"hand in what it gives as an argument. Allowed: {', '.join(sorted(PURE))}."
        )


def test_implementations_are_for_app_alone() -> None:
    for name in FILES:
        wanted = {ours(imported) for imported in imports(name)} & FOR_APP_ALONE
        assert name in ("app", "serve") or not wanted, f"{name} imports {wanted}: let app.py build it and hand it in"


def test_no_folder_is_a_drawer() -> None:
    drawers = {package for package in PACKAGES if NO_FOLDERS & set(package.split("."))}
    assert not drawers, f"{drawers}: name the folder for the contract that its files implement"


def test_third_parties_are_declared() -> None:
    """What is imported is a dependency by name in pyproject.toml, not one that another dependency happens to bring."""
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    declared = {re.split(r"[^\w-]", line)[0] for line in lines}
    comes_with = {
        "pydantic_core": "pydantic",
        "ahocorasick": "pyahocorasick",
        "linkify_it": "linkify-it-py",
        "argon2": "argon2-cffi",
        "jwt": "pyjwt",
    }
    for may in TABLE.values():
        for third in may.third.split():
            assert comes_with.get(third, third.replace("_", "-")) in declared, f"{third} is not in pyproject.toml"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("parlour", "pydantic fastapi starlette uvicorn websockets typer"),
        ("parlour.cli", "pydantic fastapi starlette uvicorn websockets"),
        ("parlour.client", "pydantic fastapi starlette uvicorn typer"),
        ("parlour.app", "typer pydantic_settings parlour.client prometheus_client"),
    ],
)
def test_what_an_import_does_not_bring(module: str, absent: str) -> None:
    """`parlour --help` and a client start at once: the server's libraries come only with the server."""
    code = f"import sys, {module}; print(*({set(absent.split())!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr

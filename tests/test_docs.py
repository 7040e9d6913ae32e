"""What the documents must say, and what they must not."""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperCommand, TyperGroup

from parlour import cli
from parlour.errors import CLOSE_CODES, ERROR_CODES
from parlour.settings import Settings, flag_name, variable_name
from tests.support import require
from tests.walks import walked

ROOT = Path(__file__).parent.parent
SELF_HOST = ROOT / "docs" / "self-host.md"
MODERATE = ROOT / "docs" / "moderate.md"
PROTOCOL = ROOT / "docs" / "protocol.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
DECISIONS = ROOT / "docs" / "decisions"
FRAGMENTS = ROOT / "changelog.d"


def project_files() -> Iterator[Path]:
    """Every file of the project: what tools leave behind is not in it."""
    left_behind = re.compile(
        r"\.git|\.cache|\.venv.*|\..*_cache|\.hypothesis|\.idea|\.vscode|__pycache__|node_modules|dist|reports|uv\.lock|.*\.pyc"
    )
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(name for name in folders if not left_behind.fullmatch(name))
        yield from (Path(folder, name) for name in sorted(files) if not left_behind.fullmatch(name))


MARKDOWN = [path for path in project_files() if path.suffix == ".md"]


def commands() -> dict[str, TyperCommand]:
    """Every command by its words: `serve`, `admin ban`, `admin reports verify`. What shows a list is named after it."""
    group = typer.main.get_command(cli.app)
    assert isinstance(group, TyperGroup)
    return dict(commands_of(group, ""))


def commands_of(group: TyperGroup, before: str) -> Iterator[tuple[str, TyperCommand]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands_of(command, f"{before}{name} ")
        elif isinstance(command, TyperCommand):
            yield before.rstrip() if name == "show" else before + name, command


def setting_row(name: str) -> str:
    """The line of docs/self-host.md that describes a setting; its cell for the default is empty where there is none."""
    field = Settings.model_fields[name]
    default = field.get_default()
    if isinstance(default, bool):
        default = "on" if default else "off"
    if isinstance(default, float):
        default = f"{default:g}"
    cell = " " if default in (None, ()) else f" `{default}` "
    return f"| `{flag_name(name)}` | `{variable_name(name)}` | `{name}` |{cell}| {field.description} |"


def code_row(code: str | int, meaning: str) -> str:
    return f"| `{code}` | {meaning} |"


def missing_rows(document: Path, rows: list[str]) -> str:
    lines = set(document.read_text().splitlines())
    missing = [row for row in rows if row not in lines]
    return f"{document.relative_to(ROOT)} needs these lines:\n" + "\n".join(missing) if missing else ""


def test_every_setting_is_in_self_host() -> None:
    wrong = missing_rows(SELF_HOST, [setting_row(name) for name in Settings.model_fields])
    assert not wrong, wrong


def test_self_host_names_no_setting_that_is_not_there() -> None:
    rows = [line for line in SELF_HOST.read_text().splitlines() if re.match(r"\| `--", line)]
    assert sorted(rows) == sorted(setting_row(name) for name in Settings.model_fields)


def test_every_setting_is_a_flag_of_serve() -> None:
    flags = {flag for parameter in commands()["serve"].params for flag in parameter.opts if flag.startswith("--")}
    assert flags - {"--quiet", "--verbose"} == {flag_name(name) for name in Settings.model_fields}


@pytest.mark.parametrize("codes", [ERROR_CODES, CLOSE_CODES], ids=["errors", "closes"])
def test_every_code_is_in_the_protocol(codes: dict[str | int, str]) -> None:
    wrong = missing_rows(PROTOCOL, [code_row(code, meaning) for code, meaning in codes.items()])
    assert not wrong, wrong


def blocks(document: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)


def test_the_example_file_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    examples = blocks(SELF_HOST, "toml")
    assert examples
    for example in examples:
        Path("parlour.toml").write_text(example)
        assert Settings.load(data="kept").model_fields_set >= tomllib.loads(example).keys()


@pytest.mark.parametrize("document", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_flags_in_examples_are_there(document: Path) -> None:
    """A flag after `parlour serve`, `parlour admin ban` ... is one that the command takes."""
    text = re.sub(r"\\\n\s*", "", document.read_text())
    known = commands()
    words = "|".join(sorted(known, key=len, reverse=True))
    for command, arguments in re.findall(rf"parlour ({words})\b([^\n`]*)", text):
        flags = {flag for parameter in known[command].params for flag in (*parameter.opts, *parameter.secondary_opts)}
        for flag in re.findall(r"(?<=\s)--?[a-z][a-z-]*", arguments):
            assert flag in flags | {"--help", "-h"}, f"{document.relative_to(ROOT)}: parlour {command} has no {flag}"


def test_every_command_of_operators_is_told_of() -> None:
    told = MODERATE.read_text() + SELF_HOST.read_text()
    missing = [name for name in commands() if name.startswith("admin ") and f"parlour {name}" not in told]
    assert not missing, f"docs/moderate.md or docs/self-host.md should say what these are for: {missing}"


@pytest.mark.parametrize("document", [MODERATE, SELF_HOST], ids=lambda path: path.name)
def test_the_walk_goes_as_written(document: Path, tmp_path: Path) -> None:
    """What operators are told to type does what they are told, on a server of their own."""
    walked(document, tmp_path)


def test_every_make_target_is_in_contributing() -> None:
    require(shutil.which("make"), "make is not on PATH")
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.findall(r"^make (\w+)", listed, re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert sorted(targets) == sorted(phony[1].split()), "each .PHONY target needs a `## ...` for make help"
    missing = [target for target in targets if f"`make {target}`" not in CONTRIBUTING.read_text()]
    assert not missing, f"CONTRIBUTING.md does not say what these do: {missing}"


def test_decisions_are_numbered_and_guarded() -> None:
    """A decision names the test that guards it, as `tests/file.py` or `tests/file.py::test_name`."""
    records = sorted(DECISIONS.glob("*.md"))
    assert records
    numbers = [re.fullmatch(r"(\d{3})-[a-z0-9-]+\.md", record.name) for record in records]
    assert all(numbers), "name each NNN-some-words.md"
    for record in records:
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", record.read_text())
        assert named, f"{record.name} names no test"
        for file, test in named:
            assert (ROOT / file).is_file(), f"{record.name}: there is no {file}"
            assert f"def {test}" in (ROOT / file).read_text(), f"{record.name}: there is no {test} in {file}"


def test_fragments_are_named_for_the_changelog() -> None:
    kinds = "added|changed|fixed|removed|security"
    wrong = [
        path.name
        for path in FRAGMENTS.iterdir()
        if path.name != "README.md" and not re.fullmatch(rf"[a-z0-9-]+\.({kinds})\.md", path.name)
    ]
    assert not wrong, f"changelog.d/README.md says how to name these: {wrong}"


ADDRESSES = re.compile(
    r"pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|(?<![\w.~}])/(?:root|work|farm|home/\w+|Users/\w+|opt/pypi[\w-]*)/"
)


def test_no_file_names_a_registry_or_a_path_of_a_machine() -> None:
    """An address of a package registry or a folder of whoever wrote it works on one machine only."""
    wrong = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in project_files()
        for match in ADDRESSES.finditer(path.read_text(errors="ignore"))
    ]
    assert not wrong, "\n".join(wrong)


def anchors(document: Path) -> set[str]:
    """What `#...` can lead to: headings as GitHub spells them."""
    prose = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (document.parent / name).resolve() if name else document
        assert there.exists(), f"{document.relative_to(ROOT)} links to {target}, which is not there"
        assert not anchor or anchor in anchors(there), f"{document.relative_to(ROOT)}: no heading for {target}"

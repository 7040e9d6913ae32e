"""The command line: its help, its exit codes, how flags reach the settings, and that it starts quickly."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import parlour
from parlour.cli import main
from parlour.errors import Close, ConnectError, Disconnected, ParlourError, SettingsError
from parlour.settings import Settings, flag_name, variable_name

SOURCE = Path(next(iter(parlour.__path__))).parent


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The exit code, the output, and the words on stderr."""
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_the_commands(capsys: pytest.CaptureFixture[str], flag: str) -> None:
    """Those that exist, and no others."""
    code, out, err = run(capsys, flag)
    assert (code, err) == (0, "")
    commands = out.partition("Commands:\n")[2].split("\n")
    assert [line.split()[0] for line in commands if line.strip()] == ["serve", "chat", "admin"]


def test_no_command_shows_the_help_as_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys)
    assert (code, out) == (2, "")
    assert err.startswith("Usage: parlour ")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--version")
    assert code == 0
    assert out.startswith("parlour")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["talk"], "No such command 'talk'"),
        (["srve"], "Did you mean 'serve'?"),
        (["--nope"], "No such option: --nope"),
        (["serve", "--port"], "'--port' requires an argument"),
        (["serve", "now"], "unexpected extra argument"),
        (["chat", "--privat"], "--private"),
        (["serve", "--port", "tea"], "--port: 'tea' is not allowed"),
        (["serve", "--booths", "maybe"], "--booths: "),
        (["chat", "ftp://a.example"], "URL 'ftp://a.example'"),
    ],
)
def test_wrong_usage_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("parlour: error: ")
    assert words in err
    assert err.count("\n") == 1


def test_each_wrong_setting_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "serve", "--port", "tea", "--ping", "never")
    assert code == 2
    assert [line.split(": ")[:3] for line in err.splitlines()] == [
        ["parlour", "error", "--port"],
        ["parlour", "error", "--ping"],
    ]


# serve


class FakeApp(ModuleType):
    """Stands in for `parlour.serve`: keeps the settings it should serve, and ends as told."""

    def __init__(self, outcome: int | BaseException = 0) -> None:
        super().__init__("parlour.serve")
        self.served: list[Settings] = []
        self._outcome = outcome

    def serve(self, settings: Settings) -> int:
        self.served.append(settings)
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome


def fake_app(monkeypatch: pytest.MonkeyPatch, outcome: int | BaseException = 0) -> FakeApp:
    app = FakeApp(outcome)
    monkeypatch.setitem(sys.modules, "parlour.serve", app)
    return app


FLAGS = {
    "welcome": ("Be kind", "Be kind"),
    "reserved_names": ("admin,root", ("admin", "root")),
    "host": ("0.0.0.0", "0.0.0.0"),
    "port": ("0", 0),
    "url": ("https://a.example/sub", "https://a.example/sub"),
    "data": ("/tmp/parlour", Path("/tmp/parlour")),
    "title": ("Tea room", "Tea room"),
    "booths": ("off", False),
    "origin": ("https://b.example", ("https://b.example",)),
    "trusted_hops": ("2", 2),
    "rate": ("off", float("inf")),
    "burst": ("5", 5),
    "per_address": ("7", 7),
    "ping": ("1.5", 1.5),
    "ping_timeout": ("2.5", 2.5),
    "transport": ("asgi", "asgi"),
    "reload": (None, True),
    "log_format": ("json", "json"),
    "metrics": ("on", True),
    "metrics_token_file": ("/token", Path("/token")),
    "notices": ("on", True),
    "database": ("postgresql://ann@db/chat", "postgresql://ann@db/chat"),
    "keep_messages_days": ("off", float("inf")),
    "keep_reports_days": ("10", 10),
    "keep_addresses_days": ("1", 1),
    "terms": ("2026-11", "2026-11"),
    "terms_url": ("https://a.example/terms", "https://a.example/terms"),
    "age_bands": ("16-17:16,adult:18", {"16-17": 16, "adult": 18}),
    "notify": ("https://a.example/hook", "https://a.example/hook"),
    "jwt_secret_file": ("/secret", Path("/secret")),
    "jwt_key_file": ("/key.pem", Path("/key.pem")),
    "jwt_jwks": ("https://a.example/keys", "https://a.example/keys"),
    "jwt_algorithms": ("ES256,EdDSA", ("ES256", "EdDSA")),
    "jwt_issuer": ("https://a.example", "https://a.example"),
    "jwt_audience": ("chat", "chat"),
}

WITH = {
    **dict.fromkeys(("terms_url", "age_bands"), ("--terms", "1")),
    **dict.fromkeys(("jwt_algorithms", "jwt_issuer", "jwt_audience"), ("--jwt-key-file", "/key.pem")),
}
"""Flags without which another one makes no sense."""


def test_every_setting_has_its_flag_and_no_other() -> None:
    """The table below is whole, so the tests below speak about all settings."""
    assert set(FLAGS) == set(Settings.model_fields)


@pytest.mark.parametrize("setting", FLAGS)
def test_a_flag_reaches_its_setting(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str
) -> None:
    monkeypatch.chdir(tmp_path)
    app = fake_app(monkeypatch)
    value, expected = FLAGS[setting]
    given = [flag_name(setting), *([] if value is None else [value]), *WITH.get(setting, ())]
    assert run(capsys, "serve", *given) == (0, "", "")
    (settings,) = app.served
    assert getattr(settings, setting) == expected


def test_a_flag_not_given_leaves_the_setting_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Environment and file count then."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARLOUR_TITLE", "Tea room")
    app = fake_app(monkeypatch)
    assert main(["serve"]) == 0
    assert app.served == [Settings.load(title="Tea room")]


def test_origins_can_be_repeated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    app = fake_app(monkeypatch)
    assert main(["serve", "--origin", "https://a.example", "--origin", "https://b.example"]) == 0
    assert app.served[0].origin == ("https://a.example", "https://b.example")


@pytest.mark.parametrize("setting", FLAGS)
def test_the_help_says_default_and_variable(capsys: pytest.CaptureFixture[str], setting: str) -> None:
    _, out, _ = run(capsys, "serve", "--help")
    entry = re.search(rf" {flag_name(setting)} .*?\[default: (.*?); (.*?)\]", " ".join(out.split()))
    assert entry is not None
    assert entry[2] == variable_name(setting)
    default = Settings.model_fields[setting].default
    if isinstance(default, bool):
        assert entry[1] == ("on" if default else "off")
    elif default:
        shown = f"{default:g}" if isinstance(default, float) else default
        assert entry[1] == str(shown)


@pytest.mark.parametrize(
    ("outcome", "code", "words"),
    [
        (0, 0, ""),
        (1, 1, ""),
        (SettingsError("port: taken\ndata: locked"), 2, "parlour: error: port: taken\nparlour: error: data: locked\n"),
        (ConnectError("http://a.example", "no"), 3, "parlour: error: cannot connect to http://a.example: no\n"),
        (Disconnected(Close(4506)), 1, "parlour: error: disconnected with 4506: kicked by a moderator\n"),
        (ParlourError("no"), 1, "parlour: error: no\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_exit_codes(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    outcome: int | BaseException,
    code: int,
    words: str,
) -> None:
    fake_app(monkeypatch, outcome)
    assert run(capsys, "serve") == (code, "", words)


def test_our_own_mistakes_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug shows where it is."""
    fake_app(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(["serve"])


# The process


def test_it_starts_with_little() -> None:
    """Help needs neither the server nor the client, nor what Typer takes along on demand."""
    heavy = {"asyncio", "fastapi", "msgspec", "parlour.app", "pydantic", "rich", "starlette", "uvicorn", "websockets"}
    code = "import sys; from parlour.cli import main; main(['--help']); sys.exit(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert heavy.isdisjoint(done.stderr.split())
    assert "parlour.cli" in done.stderr.split()


def test_python_m_parlour() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "parlour", "nope"],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("parlour: error: No such command 'nope'.")


def test_help_to_a_reader_that_has_gone() -> None:
    """`parlour serve --help | head -0` says nothing about pipes."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "parlour", "serve", "--help"],
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")

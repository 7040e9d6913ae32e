"""What stands in deploy/: that each file says what it should, and that docs/self-host.md shows the same."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml  # type: ignore[import-untyped]

from parlour.settings import Settings, variable_name
from tests.raw import connect, get
from tests.servers import ROOT, Server
from tests.support import require

DEPLOY = ROOT / "deploy"
SELF_HOST = ROOT / "docs" / "self-host.md"
UNIT = DEPLOY / "parlour.service"
SETTINGS = {variable_name(name) for name in Settings.model_fields} | {"PARLOUR_CONFIG"}


# The documents


def snippets() -> list[tuple[str, str]]:
    """Code in docs/self-host.md that says to be a file's: below a line with a link to it, and nothing between."""
    snippet = re.compile(r"\]\(\.\./deploy/([\w.-]+)\)[^\n]*\n\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return snippet.findall(SELF_HOST.read_text())


def test_the_docs_show_the_files_themselves() -> None:
    shown = dict(snippets())
    assert shown.keys() >= {"nginx.conf", "nginx-subpath.conf", "Caddyfile", "prometheus.yaml"}
    for name, text in shown.items():
        assert text == (DEPLOY / name).read_text(), f"docs/self-host.md does not show deploy/{name} as it is"


def test_the_docs_name_every_file() -> None:
    text = SELF_HOST.read_text()
    missing = [file.name for file in DEPLOY.iterdir() if f"(../deploy/{file.name})" not in text]
    assert missing in ([], ["Dockerfile.dockerignore"])


def test_no_file_sets_what_is_no_setting() -> None:
    for file in DEPLOY.iterdir():
        unknown = set(re.findall(r"\bPARLOUR_[A-Z_]+", file.read_text())) - SETTINGS
        assert not unknown, f"{file.name}: {unknown}"


# nginx and systemd. That nginx takes the file, `test_nginx.py` shows.


def test_nginx_is_more_patient_than_our_heartbeat() -> None:
    limits = re.findall(r"proxy_(?:read|send)_timeout (\d+)s", (DEPLOY / "nginx.conf").read_text())
    ping, timeout = (Settings.model_fields[name].get_default() for name in ("ping", "ping_timeout"))
    assert len(limits) == 2
    assert all(int(limit) > ping + timeout for limit in limits)


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """And has little to say about its hardening: an exposure of 2 of 10 at most."""
    analyze = shutil.which("systemd-analyze")
    require(analyze, "systemd is not installed")
    assert analyze is not None
    unit = tmp_path / UNIT.name
    text = UNIT.read_text()
    start = "ExecStart=/opt/parlour/.venv/bin/parlour serve\n"
    assert start in text
    unit.write_text(text.replace(start, f"ExecStart={sys.executable}\n"))
    for words in (["verify", "--man=no"], ["security", "--offline=true", "--threshold=20", "--no-pager"]):
        done = subprocess.run([analyze, *words, unit], capture_output=True, text=True, check=False)
        said = done.stderr if words[0] == "verify" else ""  # unknown directives are only mentioned
        assert (done.returncode, said) == (0, ""), done.stdout + done.stderr


# Docker


class Step(NamedTuple):
    """One instruction of a Dockerfile."""

    name: str
    words: str

    @property
    def command(self) -> list[str]:
        """What it runs, in the form that needs no shell: signals reach the program itself."""
        command: list[str] = json.loads(self.words[self.words.index("[") :])
        return command


def steps() -> list[Step]:
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [Step(*line.split(maxsplit=1)) for line in whole.splitlines() if line]


def last(name: str) -> Step:
    return [step for step in steps() if step.name == name][-1]


def image_environment() -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(last("ENV").words))


def ignored(path: str) -> bool:
    """Whether the context leaves a file out; the last pattern that fits decides."""
    out = False
    for pattern in (DEPLOY / "Dockerfile.dockerignore").read_text().split():
        bare = pattern.removeprefix("!").replace("**/", "*")
        if fnmatch(path, bare) or fnmatch(path, f"{bare}/*"):
            out = not pattern.startswith("!")
    return out


def test_what_the_image_is_built_from_is_there() -> None:
    for step in steps():
        if step.name == "COPY" and not step.words.startswith("--from"):
            for source in step.words.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert not ignored(source), source
    assert not ignored("src/parlour/web/static/index.html")
    for path in (".git/config", ".venv/bin/python", "tests/conftest.py", "src/parlour/__pycache__/app.pyc", ".env"):
        assert ignored(path), path


def test_the_image_runs_as_nobody_in_particular() -> None:
    """By number, not as root; its only writable folder is the volume; and the program itself gets the signals."""
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last("USER").words)
    assert last("VOLUME").words == image_environment()["PARLOUR_DATA"]
    assert last("CMD").command[0] == "parlour"
    assert f"EXPOSE {image_environment()['PARLOUR_PORT']}" in (DEPLOY / "Dockerfile").read_text()


def test_compose() -> None:
    compose: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    parlour, caddy = compose["services"]["parlour"], compose["services"]["caddy"]
    build = parlour["build"]
    assert (DEPLOY / build["context"]).samefile(ROOT)
    assert (ROOT / build["dockerfile"]).samefile(DEPLOY / "Dockerfile")
    assert (parlour["read_only"], parlour["cap_drop"]) == (True, ["ALL"])
    assert all(port.startswith("127.0.0.1:") for port in parlour["ports"])
    assert parlour["volumes"] == [f"data:{last('VOLUME').words}"]
    assert caddy["environment"]["UPSTREAM"] == f"parlour:{image_environment()['PARLOUR_PORT']}"
    assert (DEPLOY / caddy["volumes"][0].split(":")[0]).is_file()
    taken = set(re.findall(r"\{\$(\w+)", (DEPLOY / "Caddyfile").read_text()))
    assert taken == caddy["environment"].keys()


# What is installed


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a venv into which the wheel was installed, and which has nothing else of ours."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheel: list[str | Path] = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT]
    subprocess.run(wheel, check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    (built,) = folder.glob("parlour-*.whl")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", "--no-index", built], check=True)
    # The packages of the tests' own venv, but not what its .pth files lead to: the source.
    where: list[str | Path] = [python, "-I", "-c", "import parlour; print(parlour.__file__)"]
    package = Path(subprocess.run(where, capture_output=True, text=True, check=True).stdout.strip())
    assert package.is_relative_to(folder)
    (package.parent.parent / "tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "venv" / "bin"


@pytest.mark.anyio
async def test_the_image_s_commands_work_where_only_the_wheel_is(installed: Path, tmp_path: Path) -> None:
    """The server starts, as in the image but on another port, serves its page and a chat; and the health check knows
    whether it lives."""
    environment = {
        **image_environment(),
        "PATH": f"{installed}{os.pathsep}{os.environ['PATH']}",
        "PARLOUR_HOST": "127.0.0.1",
        "PARLOUR_DATA": str(tmp_path),
        "PARLOUR_PORT": "0",
    }
    command = last("CMD").command
    program = shutil.which(command[0], path=environment["PATH"])
    assert program == str(installed / "parlour")
    process = subprocess.Popen(  # noqa: ASYNC220 - at once
        [program, *command[1:]],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    server = Server(process)
    try:
        url = server.printed(r"http://\S+:\d+")[0]
        environment["PARLOUR_PORT"] = url.rpartition(":")[2]

        def is_healthy() -> bool:
            check = subprocess.run(last("HEALTHCHECK").command, env=environment, capture_output=True, check=False)
            return check.returncode == 0

        page = await get(url, "/", {"Accept": "text/html"})
        files = re.findall(r'(?:src|href)="(static/[^"]+)"', page.text)
        assert files
        for file in files:
            assert (await get(url, f"/{file}")).status == 200
        async with connect(url) as ada:
            await ada.say("ada", "hi")
            assert await ada.line() == "ada> hi"
        assert is_healthy()
        server.signal()
        assert server.exited() in (0, -signal.SIGTERM)
        assert not is_healthy()
    finally:
        server.stop()

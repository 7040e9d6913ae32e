"""Servers for the transports' tests: each way in which a connection can be served."""

import os
import re
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from tests.servers import ROOT, Server, uvicorn
from tests.support import require

CACHE = ROOT / ".cache"


class Way(NamedTuple):
    """One way to serve: which transport, event loop and uvicorn, and what else uvicorn is told."""

    transport: str = "auto"
    loop: str = "auto"
    tls: bool = False
    oldest: bool = False
    flags: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [self.transport, self.loop, "tls" * self.tls, "oldest" * self.oldest, *self.flags[1::2]]
        return "-".join(part for part in parts if part)


class Serving(NamedTuple):
    """A running server, and how to come to it."""

    way: Way
    process: Server
    tls: ssl.SSLContext | None

    @property
    def url(self) -> str:
        return self.process.url


@pytest.fixture(scope="session")
def oldest_uvicorn() -> Path:
    """A folder with the oldest uvicorn that pyproject.toml allows, and nothing else. It is kept between runs."""
    found = re.search(r'"uvicorn\[standard\]>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert found is not None
    folder = CACHE / f"uvicorn-{found[1]}"
    if not folder.exists():
        CACHE.mkdir(exist_ok=True)
        (CACHE / ".gitignore").write_text("*\n")
        with tempfile.TemporaryDirectory(dir=CACHE) as new:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", f"{new}/uvicorn"]
            done = subprocess.run([*pip, f"uvicorn=={found[1]}"], capture_output=True, text=True, timeout=120)
            require(done.returncode == 0, f"uvicorn {found[1]} can't be installed: {done.stderr.strip()[-200:]}")
            Path(new, "uvicorn").rename(folder)
    version = [sys.executable, "-c", "import uvicorn; print(uvicorn.__version__)"]
    env = {**os.environ, "PYTHONPATH": str(folder)}
    assert subprocess.run(version, env=env, capture_output=True, text=True).stdout.strip() == found[1]
    return folder


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Signs the certificates of TLS servers, and is trusted by their clients."""
    return trustme.CA()


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serving]:
    """`uvicorn server:app` in one of the ways, named by the test's mark. Nothing may have broken at the end."""
    way: Way = request.param
    flags, context = ["--loop", way.loop, *way.flags], None
    if way.tls:
        file = tmp_path_factory.mktemp("tls") / "server.pem"
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(file))
        flags += ["--ssl-keyfile", str(file), "--ssl-certfile", str(file)]
        context = ssl.create_default_context()
        authority.configure_trust(context)
    path = (request.getfixturevalue("oldest_uvicorn"),) if way.oldest else ()
    settings = {"transport": way.transport, "ping": "600"}
    with uvicorn(*flags, settings=settings, path=path) as process:
        yield Serving(way, process, context)
    # uvicorn logs a traceback of its own for text that is not UTF-8.
    log = process.log.replace("Invalid UTF-8 sequence received from client.\nTraceback", "")
    assert "Traceback" not in log
    assert "failed" not in log

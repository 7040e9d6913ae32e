"""Chatting through a real nginx, set up as deploy/ has it: TLS, at the root of a site and below `/talk`.

Clients come from addresses of their own (127.0.0.x), each test from others, for the limits count them.
"""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from tests.raw import TEXT, Client, DeniedError, connect, frame, get
from tests.servers import ROOT, Server, serving
from tests.support import require

pytestmark = pytest.mark.anyio

SITE, BELOW = ROOT / "deploy" / "nginx.conf", ROOT / "deploy" / "nginx-subpath.conf"
V1 = {"Sec-WebSocket-Protocol": "parlour.v1.json"}
PREFIXES = pytest.mark.parametrize("prefix", ["", "/talk"])


class Site(NamedTuple):
    """Two chats behind one nginx. `origin` is what a browser would send from its pages."""

    port: int
    tls: ssl.SSLContext

    @property
    def origin(self) -> str:
        return f"https://localhost:{self.port}"

    @asynccontextmanager
    async def chatter(
        self, source: str, path: str = "/talk/chat/public", headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Client]:
        """A WebSocket from this address, as the browser of a page of ours opens it."""
        headers = {"Host": f"localhost:{self.port}", "Origin": self.origin, **(headers or {})}
        async with connect(f"https://127.0.0.1:{self.port}", path, headers, source=source, tls=self.tls) as client:
            yield client

    async def is_welcome(self, stack: AsyncExitStack, source: str, headers: Mapping[str, str] | None = None) -> bool:
        """Whether one more from this address gets in; it stays until the end of `stack`."""
        try:
            await stack.enter_async_context(self.chatter(source, headers=headers))
        except DeniedError as denied:
            if denied.response.status != 429:
                raise
            return False
        return True


def nginx_conf(folder: Path, port: int, pem: Path, root: Server, below: Server) -> str:
    """What deploy/ has, with the names and ports of this test in place of those of the example."""
    site = SITE.read_text()
    upstream = "http://127.0.0.1:8000"
    place = site.index("    location / {")
    site = site.replace(upstream, root.url)
    site = site[:place] + BELOW.read_text().replace(upstream, below.url) + site[place:]
    site, replaced = re.subn(r"(ssl_certificate(?:_key)?) .*;", rf"\1 {pem};", site)
    assert replaced == 2
    site = site.replace("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;").replace("chat.example.com", "localhost")
    temp = "\n".join(f"{kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.geteuid() == 0 else ""  # its usual one may not enter the test's folder
    return f"""
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr notice;
events {{ }}
http {{
access_log off;
{temp}
{site}
}}
"""


@contextmanager
def nginx(folder: Path, listening: socket.socket, conf: str) -> Iterator[None]:
    """nginx in the foreground, on a socket that it inherits as from an older one of its kind: so the port is ours."""
    binary = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    assert binary is not None
    file = folder / "test.conf"
    file.write_text(conf)
    process = subprocess.Popen(
        [binary, "-p", str(folder), "-c", str(file), "-e", "stderr"],
        env={**os.environ, "NGINX": f"{listening.fileno()};"},
        pass_fds=[listening.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    server = Server(process)
    try:
        server.printed("start worker process")
        yield
    finally:
        server.stop()
    assert not re.search(r"\[(?:warn|error|crit|alert|emerg)\]", server.log), server.log


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    require(shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin"), "nginx is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    authority = trustme.CA()
    pem = folder / "server.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(pem))
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        flags = ("--trusted-hops", "1", "--per-address", "2", "--metrics", "on")
        url = f"https://localhost:{port}"
        with serving("--url", url, *flags) as root, serving("--url", f"{url}/talk", *flags) as below:
            with nginx(folder, listening, nginx_conf(folder, port, pem, root, below)):
                yield Site(port, tls)
            for server in (root, below):
                assert "Traceback" not in server.log


async def tell(client: Client, command: dict[str, Any]) -> None:
    await client.send(frame(TEXT, json.dumps(command).encode()))


async def heard(client: Client, key: str, value: object) -> dict[str, Any]:
    """The next object in which `key` has that value."""
    while True:
        said: dict[str, Any] = json.loads(await client.line())
        if said.get(key) == value:
            return said


@PREFIXES
async def test_both_wires_chat(site: Site, prefix: str) -> None:
    """In the public room, one who says lines and one who says hello."""
    path = f"{prefix}/chat/public"
    async with site.chatter("127.0.0.10", path) as ada, site.chatter("127.0.0.11", path, V1) as bo:
        assert bo.response.headers["sec-websocket-protocol"] == "parlour.v1.json"
        await tell(bo, {"id": 1, "op": "hello", "name": "bo"})
        assert (await heard(bo, "re", 1))["ok"]
        await ada.say("ada", "hi")
        assert await ada.line() == "ada> hi"
        assert (await heard(bo, "ev", "message"))["text"] == "hi"
        await tell(bo, {"id": 2, "op": "send", "room": "public", "key": "k1", "text": "hello"})
        assert (await heard(bo, "re", 2))["ok"]
        assert await ada.line() == "bo> hello"


@PREFIXES
async def test_strangers_meet(site: Site, prefix: str) -> None:
    path = f"{prefix}/chat/private"
    async with site.chatter("127.0.0.12", path) as ada, site.chatter("127.0.0.13", path) as bo:
        await ada.say("ada", "who are you?")
        assert await bo.line() == "ada> who are you?"


@PREFIXES
async def test_the_page_is_there(site: Site, prefix: str) -> None:
    url, headers = f"https://127.0.0.1:{site.port}", {"Host": f"localhost:{site.port}", "Accept": "text/html"}
    page = await get(url, f"{prefix}/", headers, tls=site.tls)
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for file in re.findall(r'(?:src|href)="(static/[^"]+)"', page.text):
        assert (await get(url, f"{prefix}/{file}", headers, tls=site.tls)).status == 200
    text = await get(url, f"{prefix}/", {"Host": f"localhost:{site.port}"}, tls=site.tls)
    assert f"parlour chat {site.origin}{prefix}\n" in text.text


async def test_the_limits_are_the_clients_own(site: Site) -> None:
    """Two connections an address: the third of one is refused, while another's is welcome. What a client writes into
    X-Forwarded-For changes nothing, for nginx writes behind it what it saw."""
    spoofs = ("9.9.9.9", "9.9.9.9, 8.8.8.8", "127.0.0.1", "127.0.0.21", "")
    async with AsyncExitStack() as stack:
        assert await site.is_welcome(stack, "127.0.0.20")
        assert await site.is_welcome(stack, "127.0.0.20", {"X-Forwarded-For": "9.9.9.9"})
        assert not await site.is_welcome(stack, "127.0.0.20")
        for spoof in spoofs:
            assert not await site.is_welcome(stack, "127.0.0.20", {"X-Forwarded-For": spoof})
        for number in (1, 2):
            assert await site.is_welcome(stack, "127.0.0.21"), number
        assert not await site.is_welcome(stack, "127.0.0.21", {"X-Real-IP": "9.9.9.9", "Forwarded": "for=9.9.9.9"})


@PREFIXES
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", "https://evil"])
async def test_a_foreign_page_is_refused(site: Site, prefix: str, origin: str) -> None:
    with pytest.raises(DeniedError) as denied:
        async with site.chatter("127.0.0.30", f"{prefix}/chat/public", {"Origin": origin}):
            pass
    assert denied.value.response.status == 403


@PREFIXES
async def test_metrics_are_not_published(site: Site, prefix: str) -> None:
    """By nginx; and behind a proxy that would, the chat itself asks for a token."""
    url = f"https://127.0.0.1:{site.port}"
    assert (await get(url, f"{prefix}/metrics", tls=site.tls)).status == 404
    for path in (f"{prefix}//metrics", f"{prefix}/%6detrics", f"{prefix}/metrics/", f"{prefix}/x/../metrics"):
        answer = await get(url, path, tls=site.tls)
        assert answer.status >= 300, path
        assert "parlour_" not in answer.text

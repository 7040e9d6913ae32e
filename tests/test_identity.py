"""Whose a token of an outside issuer is, and which are nobody's."""

import asyncio
import base64
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from parlour.core.events import Person
from parlour.errors import Refusal, SettingsError
from parlour.identity import AGAIN_SECONDS, KEEP_SECONDS, Issuer
from parlour.settings import Settings

pytestmark = pytest.mark.anyio

SECRET = "s" * 32
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
KEYS: dict[str, Any] = {"RS256": RSA, "ES256": EC, "EdDSA": ED}


def claims(**other: Any) -> dict[str, Any]:
    """What a good token says. A claim that is None is left out."""
    said = {"sub": "17", "name": "Ada", "exp": time.time() + 600, **other}
    return {name: value for name, value in said.items() if value is not None}


def token(algorithm: str = "HS256", *, key: Any = None, kid: str | None = None, **other: Any) -> str:
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(claims(**other), key or KEYS.get(algorithm, SECRET), algorithm, headers=headers)


def pem(key: Any) -> bytes:
    found: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return found


def jwks(**keys: str) -> str:
    """Public keys by id, each given by its algorithm."""
    found = []
    for kid, algorithm in keys.items():
        public = jwt.get_algorithm_by_name(algorithm).to_jwk(KEYS[algorithm].public_key(), as_dict=True)
        found.append({**public, "kid": kid})
    return json.dumps({"keys": found})


def issuer(tmp_path: Path, *, now: Callable[[], float] = time.monotonic, **settings: Any) -> Issuer:
    if not any(name in settings for name in ("jwt_key_file", "jwt_jwks")):
        (tmp_path / "secret").write_text(SECRET)
        settings["jwt_secret_file"] = tmp_path / "secret"
    made = Issuer.of(Settings.model_validate(settings), now=now)
    assert made is not None
    return made


async def refused(at: Issuer, given: str) -> str:
    answer = await at.verify(given)
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.field) == ("unauthorized", "token")
    assert given not in answer.message
    return answer.message


async def test_a_token_says_who_somebody_is(tmp_path: Path) -> None:
    assert await issuer(tmp_path).verify(token()) == Person("17", "Ada")
    assert await issuer(tmp_path).verify(token(name=None, preferred_username="ada")) == Person("17", "ada")


@pytest.mark.parametrize(
    ("role", "taken"),
    [("moderator", "moderator"), ("admin", "admin"), ("root", "user"), (["admin"], "user"), (1, "user")],
)
async def test_a_role_is_one_that_there_is(tmp_path: Path, role: object, taken: str) -> None:
    assert await issuer(tmp_path).verify(token(role=role)) == Person("17", "Ada", taken)  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", KEYS)
async def test_a_public_key_checks_what_its_private_one_signed(tmp_path: Path, algorithm: str) -> None:
    (tmp_path / "key").write_bytes(pem(KEYS[algorithm]))
    at = issuer(tmp_path, jwt_key_file=tmp_path / "key")
    assert await at.verify(token(algorithm)) == Person("17", "Ada")
    other = {"RS256": "ES256", "ES256": "EdDSA", "EdDSA": "RS256"}[algorithm]
    assert "not accepted here" in await refused(at, token(other))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"exp": time.time() - 61}, "has expired"),
        ({"nbf": time.time() + 10**6}, "not good yet"),
        ({"exp": None}, "lacks a claim"),
        ({"sub": None}, "lacks a claim"),
        ({"sub": ""}, '"sub"'),
        ({"sub": "x" * 201}, '"sub"'),
        ({"name": None}, '"name"'),
        ({"name": " "}, '"name"'),
        ({"name": 5}, '"name"'),
        ({"iss": "https://b.example"}, "another issuer"),
        ({"aud": "mail"}, "another audience"),
        ({"key": "t" * 32}, "not a token of ours"),
    ],
)
async def test_what_is_wrong_is_said(tmp_path: Path, other: dict[str, Any], words: str) -> None:
    at = issuer(tmp_path, jwt_issuer="https://a.example", jwt_audience="chat")
    good = {"iss": "https://a.example", "aud": "chat"}
    assert await at.verify(token(**good)) == Person("17", "Ada")
    assert words in await refused(at, token(**{**good, **other}))


async def test_clocks_may_differ_by_a_minute(tmp_path: Path) -> None:
    assert isinstance(await issuer(tmp_path).verify(token(exp=time.time() - 50, nbf=time.time() + 0)), Person)


async def test_nobody_chooses_the_algorithm_but_the_operator(tmp_path: Path) -> None:
    """`none`, and a public key taken for a secret (RFC 8725 2.1)."""
    (tmp_path / "key").write_bytes(pem(RSA))
    at = issuer(tmp_path, jwt_key_file=tmp_path / "key")
    head, body = (_part({"alg": "HS256", "typ": "JWT"}), _part(claims()))
    import hashlib
    import hmac

    mac = hmac.digest(pem(RSA), f"{head}.{body}".encode(), hashlib.sha256)
    forged = f"{head}.{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    assert await refused(at, forged)
    assert await refused(at, f"{_part({'alg': 'none'})}.{body}.")
    assert await refused(issuer(tmp_path), f"{_part({'alg': 'none'})}.{body}.")


def _part(fields: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("given", ["", ".", "..", "a.b.c", "é" * 50, "\ud800", "x" * 4096, "[" * 2000, token()[:-4]])
async def test_no_text_makes_it_fail(tmp_path: Path, given: str) -> None:
    assert await refused(issuer(tmp_path), given) if given else True
    assert isinstance(await issuer(tmp_path).verify(given), Refusal)


async def test_keys_are_found_by_their_id(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(jwks(old="RS256", new="EdDSA"))
    at = issuer(tmp_path, jwt_jwks=str(tmp_path / "keys"))
    assert await at.verify(token("RS256", kid="old")) == Person("17", "Ada")
    assert await at.verify(token("EdDSA", kid="new")) == Person("17", "Ada")
    assert "does not have" in await refused(at, token("EdDSA", kid="newest"))
    assert "does not have" in await refused(at, token("EdDSA"))


class Keys:
    """A server that gives keys, counts how often, and can be out of order."""

    def __init__(self) -> None:
        self.text, self.asked, self.status = jwks(one="RS256"), 0, 200
        self.url = ""


@pytest.fixture
async def keys() -> AsyncIterator[Keys]:
    known = Keys()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known.asked += 1
            self.send_response(known.status)
            if known.status == 302:
                self.send_header("Location", f"http://localhost:{server.server_port}/other")
            self.end_headers()
            self.wfile.write(known.text.encode())

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    known.url = f"http://127.0.0.1:{server.server_port}/keys"
    yield known
    server.shutdown()
    thread.join()
    server.server_close()


async def test_keys_are_fetched_once_for_all_who_wait(tmp_path: Path, keys: Keys) -> None:
    at = issuer(tmp_path, jwt_jwks=keys.url)
    answers = await asyncio.gather(*(at.verify(token("RS256", kid="one")) for _ in range(20)))
    assert answers == 20 * [Person("17", "Ada")]
    assert keys.asked == 1


async def test_made_up_ids_make_no_flood(tmp_path: Path, keys: Keys) -> None:
    now = 1000.0
    at = issuer(tmp_path, jwt_jwks=keys.url, now=lambda: now)
    for number in range(50):
        assert await refused(at, token("RS256", kid=f"made up {number}"))
    assert keys.asked == 1
    keys.text = jwks(one="RS256", two="ES256")
    now += AGAIN_SECONDS
    assert await at.verify(token("ES256", kid="two")) == Person("17", "Ada")
    assert keys.asked == 2
    now += KEEP_SECONDS
    keys.text = jwks(two="ES256")
    assert await refused(at, token("RS256", kid="one"))


@pytest.mark.parametrize("status", [500, 302])
async def test_known_keys_are_good_while_new_ones_cannot_be_had(tmp_path: Path, keys: Keys, status: int) -> None:
    """A redirect leads to nobody whom the operator named."""
    now = 1000.0
    keys.status = status
    at = issuer(tmp_path, jwt_jwks=keys.url, now=lambda: now)
    answer = await at.verify(token("RS256", kid="one"))
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.retry) == ("unavailable", True)
    keys.status = 200
    now += AGAIN_SECONDS
    assert await at.verify(token("RS256", kid="one")) == Person("17", "Ada")
    keys.status = status
    now += KEEP_SECONDS
    assert await at.verify(token("RS256", kid="one")) == Person("17", "Ada")


async def test_a_key_that_will_not_do_is_refused_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "key"
    private = RSA.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for setting, content, words in (
        ("jwt_secret_file", b"short", "fewer than 32 bytes"),
        ("jwt_secret_file", pem(RSA), "a key, not a secret"),
        ("jwt_key_file", b"nonsense", "no public key"),
        ("jwt_key_file", private, "public"),
        ("jwt_jwks", b"{}", "no public keys"),
        ("jwt_jwks", json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}).encode(), "no public keys"),
    ):
        file.write_bytes(content)
        with pytest.raises(SettingsError, match=words):
            Issuer.of(Settings.model_validate({setting: str(file)}))
    with pytest.raises(SettingsError, match="https"):
        Issuer.of(Settings(jwt_jwks="http://keys.example/jwks"))
    with pytest.raises(SettingsError, match="cannot be read"):
        Issuer.of(Settings(jwt_key_file=tmp_path / "none"))
    assert Issuer.of(Settings()) is None

"""Users of an outside issuer: who the bearer of a JSON Web Token (RFC 7519) is.

Which algorithms may sign is the operator's word, never the token's: `none` and a public key taken for a secret (RFC
8725 2.1, 3.1) get nowhere.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import jwt

from parlour.core.events import Person, Role
from parlour.errors import Refusal, SettingsError
from parlour.settings import Settings

logger = logging.getLogger("parlour")

LEEWAY: Final = 60
"""Seconds by which clocks may differ."""

SECRET_BYTES: Final = 32
"""At least as many bytes in a shared secret (RFC 7518 3.2)."""

ID_LIMIT: Final = 200
KEEP_SECONDS: Final = 600.0
"""How long keys that were fetched are good."""

AGAIN_SECONDS: Final = 30.0
"""Keys are fetched at most once in this time, however many tokens name keys that nobody knows."""

_FETCH_SECONDS: Final = 4.0
_FETCH_LIMIT: Final = 1 << 20
_ALGORITHMS: Final = {"oct": "HS256", "RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}
_PUBLIC: Final = ("RS256", "ES256", "EdDSA")
_ROLES: Final[Mapping[object, Role]] = {"moderator": "moderator", "admin": "admin"}

_WORDS: Final = (
    (jwt.ExpiredSignatureError, "the token has expired; sign in again"),
    (jwt.ImmatureSignatureError, "the token is not good yet"),
    (jwt.InvalidIssuerError, "the token is of another issuer"),
    (jwt.InvalidAudienceError, "the token is for another audience"),
    (jwt.MissingRequiredClaimError, "the token lacks a claim: it needs sub and exp"),
    (jwt.InvalidAlgorithmError, "the token is signed in a way that is not accepted here"),
)
_UNAVAILABLE: Final = Refusal("unavailable", "the issuer's keys can't be fetched now; try again", "token", retry=True)


class Issuer:
    """Checks tokens of one issuer. Make it with `of`."""

    def __init__(
        self,
        keys: "Secret | KeySet",
        *,
        algorithms: Sequence[str],
        issuer: str | None,
        audience: str | None,
    ) -> None:
        self._keys = keys
        self._algorithms = list(algorithms)
        self._issuer = issuer
        self._audience = audience

    @classmethod
    def of(cls, settings: Settings, *, now: Callable[[], float] = time.monotonic) -> "Issuer | None":
        """What the settings ask for; None if they name no key. Raises `SettingsError` for a file that won't do."""
        keys: Secret | KeySet
        algorithms: Sequence[str]
        if settings.jwt_secret_file is not None:
            keys, algorithms = Secret(_secret(settings.jwt_secret_file)), ("HS256",)
        elif settings.jwt_key_file is not None:
            key = _pem(settings.jwt_key_file)
            keys, algorithms = KeySet({None: key}, None, now), (key.algorithm_name,)
        elif settings.jwt_jwks is not None:
            is_url = "://" in settings.jwt_jwks
            known = {} if is_url else _file_of_keys(Path(settings.jwt_jwks))
            keys, algorithms = KeySet(known, _checked_url(settings.jwt_jwks) if is_url else None, now), _PUBLIC
        else:
            return None
        return cls(
            keys,
            algorithms=settings.jwt_algorithms or algorithms,
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
        )

    async def verify(self, token: str) -> Person | Refusal:
        """Who the bearer is: `sub`, `name` (else `preferred_username`), `role`. Raises nothing for whatever token."""
        try:
            header = jwt.get_unverified_header(token)
            key = await self._keys.find(header.get("kid"))
            if key is None:
                return _refused("the token is signed with a key that the issuer does not have")
            claims = jwt.decode(
                token,
                key,
                algorithms=self._algorithms,
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY,
                options={"require": ["sub", "exp"], "verify_aud": self._audience is not None},
            )
        except OSError:
            return _UNAVAILABLE
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            words = next((words for kind, words in _WORDS if isinstance(error, kind)), "this is not a token of ours")
            return _refused(words)
        return _person(claims)


class Secret:
    """One key for all tokens, shared with the issuer."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    async def find(self, kid: object) -> bytes | None:
        return self._secret


class KeySet:
    """Public keys by id. Where they come from a URL they are fetched when they are needed, once for all who wait."""

    def __init__(self, keys: Mapping[str | None, jwt.PyJWK], url: str | None, now: Callable[[], float]) -> None:
        self._keys = dict(keys)
        self._url = url
        self._now = now
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def find(self, kid: object) -> jwt.PyJWK | None:
        """The key of this id; without an id, the only key. Raises `OSError` where no keys can be had."""
        if self._url is not None:
            await self._refresh(self._url, kid)
        if None in self._keys:  # one key from a file: whatever its tokens call it
            return self._keys[None]
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid) if isinstance(kid, str) else None

    async def _refresh(self, url: str, kid: object) -> None:
        async with self._fetching:
            now = self._now()
            is_known = kid in self._keys if isinstance(kid, str) else bool(self._keys)
            if (is_known and now - self._fetched_at < KEEP_SECONDS) or now - self._tried_at < AGAIN_SECONDS:
                if not self._keys:
                    raise OSError("no keys yet")
                return
            self._tried_at = now
            try:
                self._keys = dict(_parsed(await asyncio.to_thread(_fetch, url)))
                self._fetched_at = now
            except (OSError, ValueError) as error:
                logger.warning("the keys of the tokens' issuer can't be fetched: %s", type(error).__name__)
                if not self._keys:
                    raise OSError("no keys yet") from None


def _person(claims: Mapping[str, Any]) -> Person | Refusal:
    id, name = claims["sub"], claims.get("name") or claims.get("preferred_username")
    if not isinstance(id, str) or not id or len(id) > ID_LIMIT:
        return _refused(f'the token\'s "sub" must be a text of 1 to {ID_LIMIT} characters')
    if not isinstance(name, str) or not name.strip():
        return _refused('the token needs a "name"')
    return Person(id, name, _ROLES.get(claims.get("role"), "user") if isinstance(claims.get("role"), str) else "user")


def _refused(words: str) -> Refusal:
    return Refusal("unauthorized", words, field="token")


def _fetch(url: str) -> bytes:
    request = Request(url, headers={"Accept": "application/json"})  # noqa: S310 - `_checked_url` has looked
    with build_opener(_Stay).open(request, timeout=_FETCH_SECONDS) as answer:
        data: bytes = answer.read(_FETCH_LIMIT + 1)
    if len(data) > _FETCH_LIMIT:
        raise ValueError("too many keys")
    return data


class _Stay(HTTPRedirectHandler):
    """Follows no redirect: whoever answers is the one whom the operator named."""

    def redirect_request(self, *args: object) -> None:
        return None


def _parsed(data: bytes) -> Mapping[str | None, jwt.PyJWK]:
    """The public keys of a JWKS (RFC 7517); those of other kinds are left out. Raises `ValueError`."""
    try:
        found = [jwk for jwk in json.loads(data)["keys"] if jwk.get("kty") in ("RSA", "EC", "OKP")]
        keys = {jwk.get("kid", f"#{place}"): jwt.PyJWK(jwk) for place, jwk in enumerate(found)}
    except (KeyError, TypeError, AttributeError, RecursionError, jwt.PyJWTError) as error:
        raise ValueError(type(error).__name__) from None
    if not keys:
        raise ValueError("no keys")
    return keys


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")):
        return url
    raise SettingsError("jwt_jwks: who reads or changes keys on their way is the issuer; give an https address")


def _read(file: Path, setting: str) -> bytes:
    try:
        return file.expanduser().read_bytes()
    except OSError as error:
        raise SettingsError(f"{setting}: {file} cannot be read: {error.strerror}; correct the path") from None


def _secret(file: Path) -> bytes:
    secret = _read(file, "jwt_secret_file").strip()
    if len(secret) < SECRET_BYTES:
        raise SettingsError(f"jwt_secret_file: {file} holds fewer than {SECRET_BYTES} bytes; take a longer secret")
    if secret.startswith(b"-----BEGIN"):
        raise SettingsError(f"jwt_secret_file: {file} is a key, not a secret; give it as jwt_key_file")
    return secret


def _pem(file: Path) -> jwt.PyJWK:
    data = _read(file, "jwt_key_file")
    for algorithm in _PUBLIC:
        try:
            key: Any = jwt.get_algorithm_by_name(algorithm).prepare_key(data)
            jwk = jwt.get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True)
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError):  # of another kind of key
            continue
        if "d" in jwk:
            raise SettingsError(f"jwt_key_file: {file} is a private key; give the public one")
        return jwt.PyJWK(jwk, algorithm)
    raise SettingsError(f"jwt_key_file: {file} is no public key in PEM")


def _file_of_keys(file: Path) -> Mapping[str | None, jwt.PyJWK]:
    try:
        return _parsed(_read(file, "jwt_jwks"))
    except ValueError:
        raise SettingsError(f"jwt_jwks: {file} holds no public keys (JWKS)") from None

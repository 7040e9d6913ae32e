"""What the server signs, and how it proves it later: session tokens, ids of people, stamps.

Everything is made by HMAC-SHA256 (RFC 2104) under a key of its own for each purpose, derived from one secret. A secret
has an id, so that another can take its place while what it signed is still good.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Final, NamedTuple

SECRET_BYTES: Final = 32
"""At least as many bytes in a secret."""

SESSION_DAYS: Final = 30
"""Days for which a session token is good."""

_DAY_MS: Final = 86_400_000
_LOCAL_BYTES: Final = 12
_STAMP_BYTES: Final = 24


class Session(NamedTuple):
    """What a session token proves, and the name that was last said with it. That of a user of the host app is good only
    for one whom the app still knows."""

    id: str
    person: str
    is_user: bool = False
    name: str | None = None


class Keyring:
    """The server's secrets."""

    def __init__(self, secrets: Mapping[str, bytes], current: str) -> None:
        """`secrets` by id; `current` names the one that signs, and all are accepted. Ids of users are made with the
        first one, so that they stay when another signs. Raises `ValueError` for a secret that is too short, or a
        current one that is not there."""
        if current not in secrets:
            raise ValueError(f"there is no secret {current!r}")
        if any(len(secret) < SECRET_BYTES for secret in secrets.values()):
            raise ValueError(f"a secret has at least {SECRET_BYTES} bytes")
        self._current = current
        self._person_key = _derived(next(iter(secrets.values())), "person")
        self._session_keys = {key: _derived(secret, "session") for key, secret in secrets.items()}
        self._local_key = _derived(secrets[current], "local id")
        self._stamp_key = _derived(secrets[current], "stamp")

    def sign_session(self, session: Session, now_ms: int) -> str:
        """A token for the session, good from `now_ms` (UTC milliseconds) on for `SESSION_DAYS`."""
        fields = json.dumps([self._current, *session, now_ms], ensure_ascii=False)
        body = _text(fields.encode("utf-8", "surrogatepass"))
        return f"{body}.{_text(_mac(self._session_keys[self._current], body.encode()))}"

    def read_session(self, token: str, now_ms: int) -> Session | None:
        """What the token proves; None if it is not one of ours, or too old."""
        body, _, signature = token.partition(".")
        try:
            key_id, *session, issued = json.loads(_bytes(body))
            key = self._session_keys[key_id]
            if not hmac.compare_digest(_text(_mac(key, body.encode())), signature):
                return None
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        # A token from the future is one signed before the clock was set back.
        return Session(*session) if now_ms - issued < SESSION_DAYS * _DAY_MS else None

    def person_id(self, user: str) -> str:
        """The id by which a user of the host app goes here: the host's own may be an address or a name."""
        return _text(_mac(self._person_key, user.encode("utf-8", "surrogatepass"))[:_LOCAL_BYTES])

    def local_id(self, booth: str, person: str) -> str:
        """The id by which a person goes in this booth, and nowhere else."""
        return _text(_mac(self._local_key, _joined(booth, person))[:_LOCAL_BYTES])

    def stamp(
        self, booth: str, members: tuple[str, str], mid: str, off: int, sender: str, ts: int, text: str, previous: str
    ) -> str:
        """Proof that the server relayed exactly this text, at this place, from `sender` and between these two, after
        what the `previous` stamp proves (message franking, Facebook 2017). `members` and `sender` are lasting ids."""
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        first, second = sorted(members)
        proved = _joined(booth, first, second, mid, str(off), sender, str(ts), digest, previous)
        return f"{self._current}.{_text(_mac(self._stamp_key, proved)[:_STAMP_BYTES])}"


def _derived(secret: bytes, purpose: str) -> bytes:
    return _mac(secret, f"parlour {purpose}".encode())


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _joined(*parts: str) -> bytes:
    """Each part behind its length: no two lists of parts give the same bytes."""
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    """Raises `ValueError`."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None

"""What the server signs, and how it proves it later: session tokens, ids of people and addresses, stamps, seals.

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
    for one whom the app still knows. `terms` is the version that the person accepted, `band` their age band: who holds
    the token accepted them, and nobody need be asked."""

    id: str
    person: str
    is_user: bool = False
    name: str | None = None
    terms: str | None = None
    band: str | None = None


class Keyring:
    """The server's secrets."""

    def __init__(self, secrets: Mapping[str, bytes], current: str) -> None:
        """`secrets` by id; `current` names the one that signs, and all are accepted. Ids of users and addresses are
        made with the first one, so that they stay when another signs. Raises `ValueError` for a secret that is too
        short, or a current one that is not there."""
        if current not in secrets:
            raise ValueError(f"there is no secret {current!r}")
        if any(len(secret) < SECRET_BYTES for secret in secrets.values()):
            raise ValueError(f"a secret has at least {SECRET_BYTES} bytes")
        self._current = current
        first = next(iter(secrets.values()))
        self._person_key, self._address_key = _derived(first, "person"), _derived(first, "address")
        self._session_keys = {key: _derived(secret, "session") for key, secret in secrets.items()}
        self._local_keys = {key: _derived(secret, "local id") for key, secret in secrets.items()}
        self._stamp_keys = {key: _derived(secret, "stamp") for key, secret in secrets.items()}
        self._seal_keys = {key: _derived(secret, "seal") for key, secret in secrets.items()}

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
            # One signed before a field was added has fewer of them. One from the future was signed before the clock was
            # set back.
            return Session(*session) if now_ms - issued < SESSION_DAYS * _DAY_MS else None
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    def person_id(self, user: str) -> str:
        """The id by which a user of the host app goes here: the host's own may be an address or a name."""
        return _text(_mac(self._person_key, user.encode("utf-8", "surrogatepass"))[:_LOCAL_BYTES])

    def local_id(self, booth: str, person: str) -> str:
        """The id by which a person goes in this booth, and nowhere else."""
        return self._local_id(self._current, booth, person)

    def is_local_id(self, id: str, booth: str, person: str) -> bool:
        """Whether the person went by this id in the booth, under any secret."""
        return any(id == self._local_id(key, booth, person) for key in self._local_keys)

    def address_hash(self, prefix: str) -> str:
        """What a ban knows of an address: `penalties.address_prefix` gives the prefix. Without the secret nobody can
        try all addresses, which are few, and find it."""
        return _text(_mac(self._address_key, prefix.encode())[:_LOCAL_BYTES])

    def stamp(
        self, booth: str, members: tuple[str, str], mid: str, off: int, sender: str, ts: int, text: str, previous: str
    ) -> str:
        """Proof that the server relayed exactly this text, at this place, from `sender` and between these two, after
        what the `previous` stamp proves (message franking, Facebook 2017). `members` and `sender` are lasting ids."""
        return self._stamp(self._current, booth, members, mid, off, sender, ts, text, previous)

    def proves(
        self,
        stamp: str,
        booth: str,
        members: tuple[str, str],
        mid: str,
        off: int,
        sender: str,
        ts: int,
        text: str,
        previous: str,
    ) -> bool:
        """Whether `stamp` made this stamp for all of that, under the secret that it names."""
        key = stamp.rpartition(".")[0]
        if key not in self._stamp_keys:
            return False
        return _is_same(stamp, self._stamp(key, booth, members, mid, off, sender, ts, text, previous))

    def seal(self, purpose: str, data: bytes) -> str:
        """Proof that this server wrote the data, for this purpose."""
        return self._seal(self._current, purpose, data)

    def is_sealed(self, seal: str, purpose: str, data: bytes) -> bool:
        """Whether `seal` made this seal, under the secret that it names."""
        key = seal.rpartition(".")[0]
        return key in self._seal_keys and _is_same(seal, self._seal(key, purpose, data))

    def _local_id(self, key: str, booth: str, person: str) -> str:
        return _text(_mac(self._local_keys[key], _joined(booth, person))[:_LOCAL_BYTES])

    def _stamp(
        self,
        key: str,
        booth: str,
        members: tuple[str, str],
        mid: str,
        off: int,
        sender: str,
        ts: int,
        text: str,
        previous: str,
    ) -> str:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        first, second = sorted(members)
        proved = _joined(booth, first, second, mid, str(off), sender, str(ts), digest, previous)
        return f"{key}.{_text(_mac(self._stamp_keys[key], proved)[:_STAMP_BYTES])}"

    def _seal(self, key: str, purpose: str, data: bytes) -> str:
        return f"{key}.{_text(_mac(self._seal_keys[key], _joined(purpose) + data))}"


def _derived(secret: bytes, purpose: str) -> bytes:
    return _mac(secret, f"parlour {purpose}".encode())


def _mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _joined(*parts: str) -> bytes:
    """Each part behind its length: no two lists of parts give the same bytes."""
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def _is_same(one: str, other: str) -> bool:
    """In a time that tells nothing of where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    """Raises `ValueError`."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None

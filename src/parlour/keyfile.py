"""The server's secrets, in a file of the data folder, made when they are first needed."""

import base64
import json
import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from parlour.core.keys import SECRET_BYTES, Keyring
from parlour.errors import SettingsError

logger = logging.getLogger("parlour")

FILE: Final = "keys.json"
"""`{"current": ID, "secrets": {ID: BASE64, ...}}`, readable by the owner alone. The current secret signs; all are
accepted, so that a new one can be added before an old one is taken away."""


def loaded_keyring(folder: Path | None) -> Keyring:
    """The secrets of the data folder, which are made if there are none.

    Without a folder, or where it can't be written, they live in memory: sessions then end with the process. Raises
    `SettingsError` for a file that is there and can't be understood.
    """
    if folder is None:
        return _parsed(_new_secrets())
    file = folder / FILE
    try:
        if not file.exists():
            _create(file)
        text = file.read_bytes()
    except OSError as error:
        logger.warning(
            "secrets can't be kept in %s (%s): after a restart nobody can resume a session", file, error.strerror
        )
        return _parsed(_new_secrets())
    return _understood(file, text)


def check_secrets(folder: Path | None) -> None:
    """Raise `SettingsError` for a file that is there and can't be understood. Nothing is made."""
    if folder is not None:
        with suppress(OSError):
            _understood(folder / FILE, (folder / FILE).read_bytes())


def _understood(file: Path, text: bytes) -> Keyring:
    try:
        return _parsed(text)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SettingsError(
            f"{file}: not a file of secrets as this server writes it; restore it, or remove it to begin with new ones"
        ) from None


def _create(file: Path) -> None:
    """Another process may do the same at this moment: the first one wins, and nobody reads half a file."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_name(f"{FILE}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as writable:
            writable.write(_new_secrets())
            writable.flush()
            os.fsync(writable.fileno())
        with suppress(FileExistsError):
            os.link(draft, file)
    finally:
        draft.unlink()


def _new_secrets() -> str:
    secret = base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    return json.dumps({"current": "1", "secrets": {"1": secret}}, indent=2) + "\n"


def _parsed(text: str | bytes) -> Keyring:
    """Raises whatever a wrong text leads to."""
    fields: Any = json.loads(text)
    found = {str(id): base64.b64decode(secret, validate=True) for id, secret in fields["secrets"].items()}
    return Keyring(found, str(fields["current"]))

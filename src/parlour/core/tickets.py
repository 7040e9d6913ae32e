"""Short signed texts, each good for one purpose until a time: who holds one was given it by this server, or by somebody
who can read its secret.

A ticket has letters, digits, `-`, `_` and `.` only, so it may stand in a cookie, a header and an address.
"""

import base64
import json
from typing import Final, Literal, TypeAlias

from parlour.core.keys import Keyring

TICKET_LIMIT: Final = 1024
"""Characters of a ticket: what is longer is none."""

Purpose: TypeAlias = Literal["cli", "first", "operator"]
"""`cli`: the command line, which read the secret itself; `first`: the link for the first admin; `operator`: a session
in the console."""


def sign(keyring: Keyring, purpose: Purpose, subject: str, until_ms: int) -> str:
    """A ticket for the subject, a short text, good until `until_ms` (UTC milliseconds)."""
    fields = json.dumps([subject, until_ms]).encode()
    body = base64.urlsafe_b64encode(fields).rstrip(b"=").decode()
    return f"{body}.{keyring.seal(_sealed_for(purpose), body.encode())}"


def read(keyring: Keyring, purpose: Purpose, ticket: str, now_ms: int) -> str | None:
    """The subject; None for what is no ticket of ours, is for another purpose, or is over."""
    body, _, seal = ticket.partition(".")
    if len(ticket) > TICKET_LIMIT or not ticket.isascii():
        return None
    if not keyring.is_sealed(seal, _sealed_for(purpose), body.encode()):
        return None
    subject, until_ms = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return str(subject) if now_ms < until_ms else None


def _sealed_for(purpose: Purpose) -> str:
    return f"ticket {purpose}"

"""What a report proves: that the server relayed these messages of a booth, between these two (message franking).

A booth is stored nowhere. Its messages bear stamps (`Keyring.stamp`), each of which holds the one before. A report
brings them back, and `verify` makes them anew: only the server can, and it made them only for what it relayed. So what
the two said is provable to the server, and to nobody else: to a third person a stamp is noise.

`sealed` writes down what was found, so that one changed byte is noticed (`open_sealed`).
"""

import json
from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

from parlour.core.events import Reported, Sender, value
from parlour.core.keys import Keyring

REPORTED: Final = 100
"""Messages in one report, at most: twice as many as a booth remembers for those who come back."""

_PURPOSE: Final = "evidence"
_VERSION: Final = 1

Word: TypeAlias = Literal["relayed", "forged", "withheld", "held"]
Side: TypeAlias = Literal["reporter", "accused"]


@value
class Proof:
    """What is known of one message: the server `relayed` it, as it is here and next after the one before, said `by` the
    reporter or the accused; or it is `forged`, changed or out of its place; or `withheld`. One that a rule `held` in a
    public room is as the server got it, and was not said."""

    message: Reported
    word: Word
    by: Side | None = None


@value
class Finding:
    """What is known of a report. `reporter` and `accused` are lasting ids.

    `is_whole`: every message is relayed, and nothing is missing between them. `from_start`: the first one is relayed,
    and nothing was said before it.
    """

    booth: str
    reporter: str
    accused: str
    proofs: Sequence[Proof]
    is_whole: bool
    from_start: bool

    @property
    def is_proved(self) -> bool:
        """Whether the two met there: anything was relayed. Otherwise the reporter may be a third person."""
        return any(proof.word == "relayed" for proof in self.proofs)

    @property
    def speaks_against(self) -> bool:
        """Whether the accused said any of it."""
        return any(proof.by == "accused" for proof in self.proofs)


@value
class Evidence:
    """A report as it is kept. `received` is UTC milliseconds; `reason` and `note` are the reporter's, and prove
    nothing. `sender` is set where a message is held: as whom it is said if it passes."""

    finding: Finding
    received: int
    reason: str
    note: str = ""
    sender: Sender | None = None


def verify(
    keyring: Keyring, booth: str, reporter: str, accused: str, messages: Sequence[Reported], prev: str = ""
) -> Finding:
    """Whether the server relayed these messages, in this order, in the booth of these two, under any of its secrets.

    `reporter` and `accused` are lasting ids, told by the server itself: by the reporter's session, and by what it knows
    of those who sat in the booth. `prev` is the stamp before the first message, empty for the first of the booth. Each
    one is proved by itself and the stamp before it: what follows a forged text, whose stamp is right, is still proved.
    At most `REPORTED` messages; raises `ValueError` for more.
    """
    if len(messages) > REPORTED:
        raise ValueError(f"a report has at most {REPORTED} messages, not {len(messages)}")
    proofs = []
    before = prev
    for message in messages:
        proofs.append(_proof(keyring, booth, reporter, accused, message, before))
        before = message.stamp
    is_whole = bool(proofs) and all(proof.word == "relayed" for proof in proofs)
    from_start = bool(proofs) and proofs[0].word == "relayed" and not prev
    return Finding(booth, reporter, accused, tuple(proofs), is_whole, from_start)


def _proof(keyring: Keyring, booth: str, reporter: str, accused: str, message: Reported, before: str) -> Proof:
    mid, off, ts, sender, text, stamp = message
    if text is None:
        return Proof(message, "withheld")
    sides: tuple[tuple[Side, str], ...] = (("reporter", reporter), ("accused", accused))
    for side, person in sides:
        if keyring.is_local_id(sender, booth, person):
            pair = (reporter, accused)
            if keyring.proves(stamp, booth, pair, mid, off, person, ts, text, before):
                return Proof(message, "relayed", side)
    return Proof(message, "forged")


def sealed(keyring: Keyring, evidence: Evidence) -> bytes:
    """The evidence as a record: one line of JSON, always the same for the same evidence, and a line with its seal."""
    finding, sender = evidence.finding, evidence.sender
    fields = {
        "v": _VERSION,
        "booth": finding.booth,
        "reporter": finding.reporter,
        "accused": finding.accused,
        "proofs": [[*proof.message, proof.word, proof.by] for proof in finding.proofs],
        "whole": finding.is_whole,
        "start": finding.from_start,
        "received": evidence.received,
        "reason": evidence.reason,
        "note": evidence.note,
        "sender": None if sender is None else [sender.id, sender.name, sender.role, sender.plain],
    }
    body = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    return body + b"\n" + keyring.seal(_PURPOSE, body).encode()


def open_sealed(keyring: Keyring, record: bytes) -> Evidence | None:
    """What a record holds; None if a byte of it is not as this server wrote it, or its secret is gone."""
    body, _, seal = record.rpartition(b"\n")
    if not keyring.is_sealed(seal.decode("ascii", "replace"), _PURPOSE, body):
        return None
    fields: Any = json.loads(body)
    proofs = tuple(Proof(Reported(*proof[:6]), *proof[6:]) for proof in fields["proofs"])
    finding = Finding(fields["booth"], fields["reporter"], fields["accused"], proofs, fields["whole"], fields["start"])
    sender = None if fields["sender"] is None else Sender(*fields["sender"])
    return Evidence(finding, fields["received"], fields["reason"], fields["note"], sender)

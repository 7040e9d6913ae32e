"""How core objects look as text, and which wire a client speaks."""

from collections.abc import Sequence
from typing import Final

from parlour.wire.contract import Wire
from parlour.wire.plain import Plain
from parlour.wire.v1 import SUBPROTOCOL, V1

__all__ = ["SUBPROTOCOL", "V1", "Plain", "Wire", "chosen"]

_FAMILY: Final = "parlour."


def chosen(offered: Sequence[str], plain: Wire, v1: Wire) -> tuple[Wire | None, str | None]:
    """The wire for the subprotocols that a client offers, and the one to select in the answer (RFC 6455 4.2.2).

    None offered, or only foreign ones: plain, and none is selected. A version of ours that is not spoken here: no wire,
    and it is selected all the same, for only then does a browser's script see the close code (4501) that follows.
    """
    if SUBPROTOCOL in offered:
        return v1, SUBPROTOCOL
    ours = next((name for name in offered if name.startswith(_FAMILY)), None)
    return (plain, None) if ours is None else (None, ours)

"""What all connections of one server share."""

from collections.abc import Callable
from dataclasses import field

from parlour.core.events import value
from parlour.core.keys import Keyring
from parlour.core.names import NameRules
from parlour.core.policy import Policy


@value
class House:
    """The rules of one server, its keys, and what is handed in from outside.

    `new_id` gives an id never used before, `utc_ms` the time of day in milliseconds. `has_tokens` says that there is
    somebody who can tell whose a token of another issuer is.
    """

    names: NameRules
    keys: Keyring
    new_id: Callable[[], str]
    utc_ms: Callable[[], int]
    has_booths: bool = True
    welcome: str | None = None
    policy: Policy = field(default_factory=Policy)
    has_tokens: bool = False

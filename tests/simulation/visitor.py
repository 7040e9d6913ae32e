"""Somebody who speaks v1, over any number of connections, as docs/protocol.md advises: resumes, and says again under
the same key what had no reply."""

import random
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from parlour.testing import V1Client
from tests.simulation.model import PUBLIC

_INTERESTS = ("tea", "go", "ski")
_LANGS = ("en", "fr")


@dataclass
class Saying:
    """What a visitor wants to say, in a booth to `peer` alone. `number` is the command's on the current connection,
    None where it is to be sent."""

    room: str
    peer: str | None
    key: str
    text: str
    number: int | None


@dataclass
class Visitor:
    """See the module. `client` is the newest connection."""

    name: str
    client: V1Client
    former: V1Client | None = None
    outbox: list[Saying] = field(default_factory=list)  # what has no reply yet
    spoken: list[Saying] = field(default_factory=list)  # what has one that is no refusal
    mids: list[tuple[str, str]] = field(default_factory=list)  # rooms and ids of those messages
    numbers: "count[int]" = field(default_factory=lambda: count(1))

    @property
    def is_in(self) -> bool:
        """Whether the hello was answered, as far as it knows."""
        client = self.client
        return client.closed is None and client.replies.get(1, {}).get("ok", False)

    @property
    def is_settled(self) -> bool:
        """Whether no command is on its way that changes where it sits."""
        client = self.client
        return self.is_in and not any(
            number not in client.replies and command["op"] in ("join", "leave", "match.find", "match.next", "block")
            for number, command in client.commands.items()
        )

    def say(self, room: str, filler: str) -> None:
        number = next(self.numbers)
        saying = Saying(room, self._peer_in(room), f"{self.name}-{number}", f"{self.name}#{number}{filler}", None)
        self.outbox.append(saying)
        self._send(saying)

    def say_again(self, choice: random.Random) -> None:
        """One message twice: as if its reply was lost."""
        again = [saying for saying in (*self.spoken[-5:], *self.outbox) if self.can_send(saying)]
        if again:
            saying = choice.choice(again)
            self.client.send(saying.room, saying.text, saying.key)

    def come_back(self, client: V1Client) -> None:
        """On another connection."""
        self.former, self.client = self.client, client
        for saying in self.outbox:
            saying.number = None
        client.say_hello()

    def tend(self) -> None:
        """Look at the replies that came, and send again what had none."""
        for saying in list(self.outbox):
            reply = None if saying.number is None else self.client.replies.get(saying.number)
            if reply is not None and reply["ok"]:
                self.outbox.remove(saying)
                self.spoken.append(saying)
                self.mids.append((saying.room, reply["mid"]))
            elif reply is not None and reply["error"]["code"] == "rate_limited":
                saying.number = None
            elif reply is not None:
                self.outbox.remove(saying)
        if not self.is_in:
            return
        for saying in [saying for saying in self.outbox if saying.number is None]:
            if self.can_send(saying):
                self._send(saying)
            elif saying.room != PUBLIC:
                self.outbox.remove(saying)

    def wish(self, choice: random.Random) -> dict[str, Any]:
        """Fields of a search."""
        return {
            "interests": choice.sample(_INTERESTS, choice.choice((0, 0, 1, 2))),
            "langs": choice.sample(_LANGS, choice.choice((0, 0, 1))),
            "relax": choice.choice(("auto", "auto", "never")),
            "key": choice.choice((None, "k", "l")),
        }

    def can_send(self, saying: Saying) -> bool:
        """Whether it sits there, and in a booth with the same stranger: a plain client keeps its booth for the next."""
        return saying.room in self.client.positions and saying.peer == self._peer_in(saying.room)

    def _peer_in(self, room: str) -> str | None:
        client = self.client
        places = [*client.replies.get(1, {}).get("rooms", ()), *client.events]
        return next(
            (place["peer"]["id"] for place in reversed(places) if "peer" in place and place["room"] == room), None
        )

    def _send(self, saying: Saying) -> None:
        saying.number = self.client.send(saying.room, saying.text, saying.key)

"""What holds for everyone at this moment: who may connect and speak, and what may be said.

One `Policy` serves a whole server. Every connection asks it; `desk.Desk` changes it when a moderator does something. It
is pure: what it answers follows from what it was told and the times that are handed in.
"""

from collections import OrderedDict
from typing import Final

from parlour.core.events import Member
from parlour.core.filter import Filter, FilterRules
from parlour.core.gate import Gate
from parlour.core.moderation import PASS, Verdict
from parlour.core.penalties import Penalties, Turns
from parlour.errors import Refusal

KEY_SECONDS: Final = 600.0
"""How long a message that comes again under its key is judged as it was: as long as rooms know the key."""

KEYS_LIMIT: Final = 10_000
"""Of how many messages that is known, everyone's together."""


class Policy:
    """See above.

    `penalties` is a snapshot that is replaced as a whole. `classifies` says that the host app looks at each text, too:
    then no text passes without a `Weigh`.
    """

    __slots__ = ("_filter", "_judged", "_turns", "classifies", "gate", "is_open", "penalties")

    def __init__(self, *, gate: Gate | None = None, rules: FilterRules | None = None, classifies: bool = False) -> None:
        self.gate = gate
        self.classifies = classifies
        self.penalties = Penalties()
        self._turns = Turns()
        self._filter: Filter | None = None
        # By person, room and key, oldest first: until when, the text's hash, and the verdict.
        self._judged: OrderedDict[tuple[str, str, str], tuple[float, int, Verdict]] = OrderedDict()
        self.is_open = True  # nothing forbids anything: whoever speaks need not ask
        self.change(penalties=Penalties(), rules=rules or FilterRules())

    def change(self, *, penalties: Penalties | None = None, rules: FilterRules | None = None) -> None:
        """From now on these hold; what is None stays. New rules know nothing of what people said before."""
        if penalties is not None:
            self.penalties = penalties
        if rules is not None:
            self._filter = Filter(rules) if rules else None
        self.is_open = self._filter is None and not self.classifies and not self.penalties

    def may_connect(self, person: str | None, address: str | None, now_ms: int) -> Refusal | None:
        """Why they may not, if so: `banned`. `person` is a lasting id, `address` the keyed hash of an address's prefix
        (`penalties.address_prefix`); None stands for one that is not known, or can't be banned."""
        return self.penalties.may_connect(person, address, now_ms)

    def may_speak(self, member: Member, room: str, now_ms: int) -> Refusal | None:
        """Why the person may not be heard there, if so, slow mode apart."""
        return self.penalties.may_speak(member.person, room, member.sender.role, now_ms)

    def judge(
        self,
        member: Member,
        room: str,
        text: str,
        *,
        in_booth: bool,
        opening: bool,
        now: float,
        now_ms: int,
        key: str | None = None,
    ) -> Verdict | Refusal:
        """What becomes of a new message: a `Refusal` where the person may not speak there now, or what the filter says.

        `opening` says that it is the first that the person says in this booth. A booth is never shown to moderators
        unless one of the two reports it: what would be flagged there passes, and what would be held is refused.

        Who sends a message again under its `key`, for the answer was lost, speaks once: it is judged as before.
        """
        sender = member.sender
        slow_ms = self.penalties.slow_ms(room)
        before = None if key is None else self._judged_before((sender.id, room, key), text, now)
        last_ms = self._turns.last(sender.id, room) if slow_ms and before is None else None
        refusal = self.penalties.may_speak(sender.id, room, sender.role, now_ms, last_ms=last_ms)
        if refusal is not None:
            return refusal
        if before is not None:
            return before
        verdict = PASS
        if self._filter is not None:
            verdict = self._filter.judge(text, sender.id, room, now, opening=opening)
        if in_booth:
            verdict = _unseen(verdict)
        if verdict.kind != "refuse":
            if slow_ms:
                self._turns.spoke(sender.id, room, slow_ms, now_ms)
            if key is not None and (slow_ms or self._filter is not None):
                self._note((sender.id, room, key), text, verdict, now)
        return verdict

    def judge_edit(self, member: Member, room: str, text: str, *, in_booth: bool, now_ms: int) -> Verdict | Refusal:
        """The same for a text that replaces another one: nothing is counted, and what would be held is refused, for the
        message is there already."""
        sender = member.sender
        refusal = self.penalties.may_speak(sender.id, room, sender.role, now_ms)
        if refusal is not None:
            return refusal
        verdict = PASS if self._filter is None else self._filter.judge_text(text)
        return _unseen(verdict) if in_booth or verdict.kind == "hold" else verdict

    def _judged_before(self, message: tuple[str, str, str], text: str, now: float) -> Verdict | None:
        until, hashed, verdict = self._judged.get(message, (now, 0, PASS))
        return verdict if now < until and hashed == hash(text) else None

    def _note(self, message: tuple[str, str, str], text: str, verdict: Verdict, now: float) -> None:
        self._judged.pop(message, None)
        self._judged[message] = now + KEY_SECONDS, hash(text), verdict
        while len(self._judged) > KEYS_LIMIT or next(iter(self._judged.values()))[0] <= now:
            self._judged.popitem(last=False)


def _unseen(verdict: Verdict) -> Verdict:
    """Where no moderator may look."""
    if verdict.kind == "flag":
        return PASS
    return Verdict("refuse", verdict.reasons, verdict.words) if verdict.kind == "hold" else verdict

"""What a client brings back of a booth is what the server can prove, whatever was lost on the way."""

import json
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from parlour.client.session import Session
from parlour.core.commands import Report
from parlour.core.events import Amend, Member, Publish, Published, Sender
from parlour.core.evidence import Finding, verify
from parlour.core.keys import Keyring
from parlour.core.room import Booth
from parlour.wire import V1

KEYS = Keyring({"k1": b"k" * 32}, "k1")
WIRE = V1()
ADA, BO = Member("c-ada", Sender("p-ada", "ada")), Member("c-bo", Sender("p-bo", "bo"))
LIMITS = {"text": 10_000, "frame": 131_072, "page": 100, "burst": 30}


class Meeting:
    """Ada and bo in a booth as the server has it, and what ada's client knows of it."""

    def __init__(self) -> None:
        self.booth = Booth("booth-1", "e1", KEYS)
        for member in (ADA, BO):
            self.booth.join(member)
        self.booth.begin(("p-ada", "p-bo"), stamps=True)
        self.mids: list[str] = []
        self.session = Session(random=lambda: 0.5)
        hello = json.loads(self.session.hello(0.0))
        person = {"id": "p-ada", "name": "ada", "role": "guest"}
        self.hear(
            {
                "re": hello["id"],
                "ok": True,
                "session": "t",
                "person": person,
                "limits": LIMITS,
                "ping_ms": 1,
                "rooms": [],
            }
        )
        peer = {"id": self.booth.ids["p-bo"], "name": "bo", "role": "guest"}
        self.hear({"ev": "match.found", "room": "booth-1", "epoch": "e1", "off": 0, "peer": peer, "common": []})

    def hear(self, frame: object) -> None:
        self.session.receive(json.dumps(frame), 0.0)

    def happen(self, what: str, *, heard: bool) -> None:
        """Something happens, and ada's client hears it, or not."""
        who = BO if len(self.mids) % 2 else ADA
        if what == "say" or not self.mids:
            mid = f"m{len(self.mids)}"
            publish = Publish("booth-1", who, f"text {mid}\n", key=mid)
            event = self.booth.publish(publish, mid, 5)
            self.booth.keep_key(publish, mid, Published("booth-1", "e1", event.off, mid, 5), 0.0)
            self.mids.append(mid)
            frame = WIRE.encode(event)
        else:
            mid = self.mids[-1]
            more = {"edit": {"text": "other"}, "react": {"emoji": "x"}, "delete": {}}[what]
            by = ADA if len(self.mids) % 2 else BO
            amended = self.booth.amend(Amend("booth-1", by, mid, **more), 6, 1.0)  # type: ignore[arg-type]
            if not isinstance(amended, tuple) or amended[0] is None:
                return
            frame = WIRE.encode(amended[0])
        if heard:
            self.session.receive(frame or "", 0.0)

    def finding(self, mids: Sequence[str] = ()) -> Finding:
        """What the server makes of ada's report."""
        messages, prev = self.session.evidence("booth-1", mids)
        fields = {"id": 1, "op": "report", "room": "booth-1", "reason": "rude", "messages": messages, "prev": prev}
        report, _ = WIRE.decode(json.dumps(fields))
        assert isinstance(report, Report)
        return verify(KEYS, "booth-1", "p-ada", "p-bo", report.messages, report.prev)


HAPPENINGS = st.lists(st.tuples(st.sampled_from(["say", "say", "edit", "react", "delete"]), st.booleans()), max_size=30)


@given(HAPPENINGS)
def test_what_was_heard_without_a_gap_is_proved_as_a_whole(happenings: list[tuple[str, bool]]) -> None:
    meeting = Meeting()
    for what, _ in [("say", True), *happenings]:
        meeting.happen(what, heard=True)
    finding = meeting.finding()
    assert (finding.is_whole, finding.from_start) == (True, True)
    assert [proof.message.mid for proof in finding.proofs if proof.message.text != "other"] == meeting.mids


@given(HAPPENINGS, st.sets(st.integers(0, 30)))
def test_nothing_that_an_honest_client_tells_looks_forged(happenings: list[tuple[str, bool]], told: set[int]) -> None:
    """Whatever it missed, and whichever messages the person names."""
    meeting = Meeting()
    for what, heard in happenings:
        meeting.happen(what, heard=heard)
    for mids in ((), [f"m{number}" for number in told]):
        finding = meeting.finding(mids)
        assert {proof.word for proof in finding.proofs} <= {"relayed", "withheld"}
        assert not finding.proofs or finding.is_proved

"""What the hub counts, in virtual time."""

import pytest

from parlour import Settings
from parlour.tally import Histogram
from parlour.testing import Kit


def test_a_histogram_counts_between_its_bounds() -> None:
    """A value at a bound is not above it; the last count has no bound."""
    histogram = Histogram(1, 10)
    for value in (0.0, 1.0, 1.5, 10.0, 11.0, 100.0):
        histogram.observe(value)
    assert (histogram.counts, histogram.sum) == ([2, 2, 2], 123.5)


def test_connections_by_wire() -> None:
    kit = Kit()
    ada = kit.public("ada")
    kit.v1("bo")
    kit.v1("cy")
    ada.close()
    kit.advance(1)
    tally = kit.hub.tally
    assert (tally.opened, tally.ended) == ({"plain": 1, "v1": 2}, {"plain": 1})


def test_a_message_is_delivered_once_for_each_member() -> None:
    """Of the room, whichever wire; and what one turn brings is one time of fan-out."""
    kit = Kit()
    ada, _, _ = kit.public("ada"), kit.public("bo"), kit.v1("cy")
    kit.advance(5)
    tally = kit.hub.tally
    deliveries, turns = tally.deliveries, sum(tally.fan_out.counts)
    ada.say("one")
    ada.say("two")
    kit.advance(0)
    assert tally.messages == 2
    assert tally.deliveries - deliveries == 6
    assert sum(tally.fan_out.counts) - turns == 1


def test_where_they_are() -> None:
    kit = Kit()
    for _ in range(3):
        kit.public()
    kit.private()
    kit.private()
    kit.private()
    assert (kit.hub.rooms, kit.hub.members("public"), kit.hub.members("nowhere")) == (3, 3, 0)
    assert kit.hub.engine.counts() == (2, 1)


def test_the_backlog_of_slow_readers() -> None:
    """What waits here and in their transports; and the end of one who takes too little, as 4008."""
    kit = Kit()
    ada, bo = kit.public("ada"), kit.public("bo", buffer=1000)
    assert kit.hub.backlog() == 0
    bo.stall()
    for _ in range(4):
        ada.say("x" * 1000)
    kit.advance(0.1)
    assert 2000 < kit.hub.backlog() < 5000
    kit.advance(10)
    assert kit.hub.backlog() == 0
    assert kit.hub.tally.closes == {4008: 1}


def test_closes_and_refusals_by_code() -> None:
    kit = Kit()
    ada, bo = kit.v1("ada"), kit.public("bo")
    ada.send("nowhere", "hi")
    ada.send_command("dance")
    ada.assert_refused("unknown_op")
    bo.send_raw(b"\xff")
    kit.drain()
    kit.advance(1)
    tally = kit.hub.tally
    assert tally.refusals["not_member"] == 1
    assert tally.refusals["unknown_op"] == 1
    assert sum(tally.closes.values()) == 2
    assert tally.closes[4000] >= 1


@pytest.mark.parametrize(("waits", "bucket"), [(0.0, 0), (3.0, 1), (100.0, 4)])
def test_how_long_a_search_took(waits: float, bucket: int) -> None:
    """From the first wish to the meeting, for each of the two; who gives up is not counted, nor what came before."""
    kit = Kit()
    ada = kit.v1("ada", "/chat")
    ada.find()
    kit.advance(50)
    ada.send_command("match.cancel")
    kit.advance(50)
    ada.find()
    kit.advance(waits)
    kit.v1("bo", "/chat/private")
    kit.advance(0)
    pairing = kit.hub.tally.pairing
    counts = [0] * len(pairing.counts)
    counts[0] += 1
    counts[bucket] += 1
    assert pairing.counts == counts
    assert pairing.sum == pytest.approx(waits)


def test_a_search_that_is_asked_for_again_goes_on() -> None:
    kit = Kit()
    ada = kit.v1("ada", "/chat")
    for _ in range(2):
        ada.find(key="k")
        kit.advance(4)
    kit.v1("bo", "/chat/private")
    kit.advance(0)
    assert kit.hub.tally.pairing.sum == pytest.approx(8)


def test_resumes_and_whether_they_recovered() -> None:
    """A room that is told whole, and one whose numbering ended with a restart; coming for the first time is none."""
    kit = Kit()
    ada = kit.v1("ada")
    assert kit.hub.tally.resumes == {}
    ada.drop()
    ada = ada.resume()
    assert kit.hub.tally.resumes == {True: 1}
    kit.restart()
    kit.advance(1)
    ada.resume()
    assert kit.hub.tally.resumes == {False: 1}


def test_a_failure_tells_its_id(caplog: pytest.LogCaptureFixture) -> None:
    """The person may tell the operator, who finds it in the log, with the place in the code and no value."""
    kit = Kit(Settings())
    ada = kit.public("ada")

    def breaks(*_: object) -> None:
        raise ValueError("canary-7b1f")

    kit.engine.publish = breaks  # type: ignore[assignment, method-assign]
    ada.say("canary-7b1f")
    close = ada.expect_close(4003)
    (record,) = caplog.records
    incident = record.__dict__["incident"]
    assert close.reason == f"internal error {incident}"
    assert f"(id {incident}): ValueError" in record.getMessage()
    assert "in breaks" in record.getMessage()
    assert "canary" not in caplog.text.replace('raise ValueError("canary-7b1f")', "")
    assert kit.hub.tally.closes == {4003: 1}

"""What a report proves, and what it doesn't."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.core.events import Amend, Edited, Member, Message, Publish, Reported, Sender
from parlour.core.evidence import REPORTED, Evidence, Finding, open_sealed, sealed, verify
from parlour.core.keys import Keyring
from parlour.core.room import Booth

OLD, NEW = b"o" * 32, b"n" * 32
KEYS = Keyring({"k1": OLD}, "k1")
ROTATED = Keyring({"k1": OLD, "k.2": NEW}, "k.2")
ADA, BO = Member("c-ada", Sender("p-ada", "ada")), Member("c-bo", Sender("p-bo", "bo"))
BOOTH = "booth-1"


def talk(keyring: Keyring = KEYS, texts: Sequence[str] = ("hi", "hello bo", "go away", "no")) -> list[Reported]:
    """What the two said in turns, with an edit and a reaction in between, as the real booth shows it."""
    booth = Booth(BOOTH, "e", keyring)
    booth.begin((ADA.person, BO.person), stamps=True)
    booth.join(ADA)
    booth.join(BO)
    shown: list[Reported] = []
    for number, text in enumerate(texts):
        publish = Publish(BOOTH, (ADA, BO)[number % 2], text, key=f"k{number}")
        message = booth.publish(publish, f"m{number}", 1000 + number)
        booth._said_at[message.mid] = 0.0
        shown.append(reported(message))
    amended = booth.amend(Amend(BOOTH, BO, "m1", emoji="\U0001f44d"), 1500, 0.0)
    assert isinstance(amended, tuple)
    amended = booth.amend(Amend(BOOTH, BO, "m1", text="hello ada"), 1600, 0.0)
    assert isinstance(amended, tuple)
    assert isinstance(amended[0], Edited)
    shown.append(reported(amended[0]))
    return shown


def reported(event: Message | Edited) -> Reported:
    assert event.stamp is not None
    return Reported(event.mid, event.off, event.ts, event.sender.id, event.text, event.stamp)


def checked(
    messages: Sequence[Reported],
    prev: str = "",
    *,
    keyring: Keyring = KEYS,
    booth: str = BOOTH,
    reporter: str = "p-ada",
    accused: str = "p-bo",
) -> Finding:
    return verify(keyring, booth, reporter, accused, messages, prev)


def words(finding: Finding) -> str:
    return "".join(proof.word[0] for proof in finding.proofs)


TALK = talk()


# What is proved


def test_what_was_relayed_is_proved_with_who_said_it() -> None:
    """Edits are part of the chain; a reaction takes a place in the room's order, and none in the chain."""
    finding = checked(TALK)
    assert words(finding) == "rrrrr"
    assert [proof.by for proof in finding.proofs] == ["reporter", "accused", "reporter", "accused", "accused"]
    assert finding.is_whole
    assert finding.from_start
    assert finding.is_proved
    assert finding.speaks_against


def test_either_of_the_two_can_report() -> None:
    finding = checked(TALK, reporter="p-bo", accused="p-ada")
    assert words(finding) == "rrrrr"
    assert [proof.by for proof in finding.proofs][:2] == ["accused", "reporter"]


def test_a_part_is_proved_behind_the_stamp_before_it() -> None:
    finding = checked(TALK[2:4], prev=TALK[1].stamp)
    assert words(finding) == "rr"
    assert finding.is_whole
    assert not finding.from_start


def test_a_gap_is_allowed_if_it_says_so() -> None:
    """Only the last stamp of what is kept back is needed."""
    gap = Reported("", 0, 0, "", None, TALK[2].stamp)
    finding = checked([TALK[0], gap, TALK[3]])
    assert words(finding) == "rwr"
    assert not finding.is_whole
    assert finding.from_start


def test_a_gap_that_is_not_told_breaks_the_chain_once() -> None:
    assert words(checked([TALK[0], TALK[2], TALK[3]])) == "rfr"


def test_an_invented_gap_proves_nothing() -> None:
    gap = Reported("", 0, 0, "", None, "k1.AAAA")
    assert words(checked([TALK[0], gap, TALK[1]])) == "rwf"


def test_a_changed_text_is_forged_and_what_follows_is_not() -> None:
    changed = [TALK[0], TALK[1]._replace(text="i will find you"), TALK[2]]
    finding = checked(changed)
    assert words(finding) == "rfr"
    assert not finding.is_whole


def test_stamps_are_proved_by_the_secret_that_they_name() -> None:
    """A server that changed its secret proves what it relayed before, and one that lost it can't."""
    assert words(checked(TALK, keyring=ROTATED)) == "rrrrr"
    newer = talk(ROTATED)
    assert words(checked(newer, keyring=ROTATED)) == "rrrrr"
    assert newer[0].stamp.startswith("k.2.")
    assert words(checked(newer)) == "fffff"
    renamed = [message._replace(stamp=message.stamp.replace("k1.", "k.2.")) for message in TALK]
    assert not checked(renamed, keyring=ROTATED).is_proved


# What is not


@pytest.mark.parametrize(
    "people",
    [
        (BOOTH, "p-cy", "p-bo"),
        (BOOTH, "p-ada", "p-cy"),
        (BOOTH, "p-cy", "p-ada"),
        (BOOTH, "p-ada", "p-ada"),
        ("booth-2", "p-ada", "p-bo"),
    ],
)
def test_a_transcript_in_other_hands_proves_nothing(people: tuple[str, str, str]) -> None:
    """Neither for a third person, nor against one, nor against oneself, nor for another booth."""
    booth, reporter, accused = people
    finding = checked(TALK, booth=booth, reporter=reporter, accused=accused)
    assert words(finding) == "fffff"
    assert not finding.is_proved
    assert not finding.speaks_against


def test_a_line_of_another_meeting_of_the_same_two_does_not_fit_in() -> None:
    other = talk(texts=("good", "other", "day"))
    assert words(checked([TALK[0], other[1], TALK[1]])) == "rff"


def test_nothing_reported_is_nothing_proved() -> None:
    finding = checked([])
    assert (finding.is_whole, finding.is_proved, finding.from_start) == (False, False, False)


def test_a_report_is_not_endless() -> None:
    with pytest.raises(ValueError, match="at most"):
        checked([TALK[0]] * (REPORTED + 1))


def other_string(draw: st.DrawFn, known: str) -> str:
    """Another one, often nearly the same."""
    place = draw(st.integers(0, max(0, len(known) - 1)))
    near = st.characters().map(lambda one: known[:place] + one + known[place + 1 :])
    return draw((near | st.just(known + " ") | st.just(known[:-1]) | st.text()).filter(lambda text: text != known))


def with_field(message: Reported, name: str, value: Any) -> Reported:
    return Reported(**{**message._asdict(), name: value})


@st.composite
def forgeries(draw: st.DrawFn) -> tuple[list[Reported], str, dict[str, str]]:
    """The report with one thing changed."""
    messages, prev, people = list(TALK), "", {"booth": BOOTH, "reporter": "p-ada", "accused": "p-bo"}
    place = draw(st.integers(0, len(messages) - 1))
    message = messages[place]
    what = draw(st.sampled_from([*Reported._fields, "prev", "drop", "swap", "twice", *people]))
    if what in ("off", "ts"):
        number = getattr(message, what)
        messages[place] = with_field(message, what, draw(st.integers().filter(lambda one: one != number)))
    elif what == "sender":
        others = [one.sender for one in messages if one.sender != message.sender]
        wrong = draw(st.sampled_from(others)) if draw(st.booleans()) else other_string(draw, message.sender)
        messages[place] = message._replace(sender=wrong)
    elif what in Reported._fields:
        messages[place] = with_field(message, what, other_string(draw, getattr(message, what)))
    elif what == "prev":
        prev = draw(st.sampled_from([message.stamp]) | st.text(min_size=1))
    elif what == "drop":
        del messages[draw(st.integers(0, len(messages) - 2))]
    elif what == "swap":
        other = draw(st.integers(0, len(messages) - 1).filter(lambda one: one != place))
        messages[place], messages[other] = messages[other], messages[place]
    elif what == "twice":
        messages.insert(place, message)
    else:
        people[what] = other_string(draw, people[what])
    return messages, prev, people


@given(forgeries())
def test_any_single_change_is_detected(forgery: tuple[list[Reported], str, dict[str, str]]) -> None:
    messages, prev, people = forgery
    finding = verify(KEYS, people["booth"], people["reporter"], people["accused"], messages, prev)
    assert "f" in words(finding)
    assert not finding.is_whole


@given(st.lists(st.text(), min_size=2, max_size=6), st.data())
def test_any_part_of_any_talk_is_proved(texts: list[str], data: st.DataObject) -> None:
    said = talk(texts=texts)
    start = data.draw(st.integers(0, len(said) - 1))
    end = data.draw(st.integers(start + 1, len(said)))
    assert checked(said[start:end], said[start - 1].stamp if start else "").is_whole


# The record

EVIDENCE = Evidence(checked(TALK), 1_700_000_000_000, "threats", 'he said "no" \ud800 \n…')
RECORD = sealed(KEYS, EVIDENCE)


def test_a_record_gives_back_what_was_sealed() -> None:
    assert open_sealed(KEYS, RECORD) == EVIDENCE
    assert open_sealed(ROTATED, RECORD) == EVIDENCE
    assert sealed(KEYS, EVIDENCE) == RECORD
    assert RECORD.count(b"\n") == 1
    gap = Evidence(checked([TALK[0], Reported("", 0, 0, "", None, TALK[2].stamp), TALK[0]]), 0, "")
    assert open_sealed(KEYS, sealed(KEYS, gap)) == gap


def test_a_record_can_be_verified_again() -> None:
    opened = open_sealed(KEYS, RECORD)
    assert opened is not None
    assert checked([proof.message for proof in opened.finding.proofs]) == opened.finding


@given(st.integers(0, len(RECORD) - 1), st.integers(1, 255))
def test_one_changed_byte_is_detected(place: int, flipped: int) -> None:
    changed = bytearray(RECORD)
    changed[place] ^= flipped
    assert open_sealed(KEYS, bytes(changed)) is None
    assert open_sealed(ROTATED, bytes(changed)) is None


@given(st.integers(0, len(RECORD) - 1), st.binary(max_size=3))
def test_a_byte_more_or_less_is_detected(place: int, more: bytes) -> None:
    for changed in (RECORD[:place] + RECORD[place + 1 :], RECORD[:place], RECORD + b"\n" + more):
        assert open_sealed(KEYS, changed) is None


def test_a_seal_of_another_server_or_purpose_is_none() -> None:
    body = RECORD.rpartition(b"\n")[0]
    assert open_sealed(Keyring({"k1": NEW}, "k1"), RECORD) is None
    assert open_sealed(KEYS, body + b"\n" + KEYS.seal("audit", body).encode()) is None

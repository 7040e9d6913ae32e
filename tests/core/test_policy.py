"""What holds for everyone: who may connect, speak, and say what; and what is judged once."""

from collections.abc import Callable
from typing import Final

import pytest

from parlour.core.events import Member, Role, Sender
from parlour.core.filter import FilterRules, Limit
from parlour.core.moderation import PASS, Kind, Verdict
from parlour.core.penalties import Mode, Penalties
from parlour.core.policy import KEY_SECONDS, KEYS_LIMIT, Policy
from parlour.core.records import Ban, Mute
from parlour.errors import Refusal

NOW_MS: Final = 1_700_000_000_000
WORDS: Final = FilterRules(words={"spam": "refuse", "maybe": "hold", "hm": "flag"})


def member(person: str = "p-ada", role: Role = "guest") -> Member:
    return Member("c-ada", Sender(person, "Ada", role))


def muted(person: str = "p-ada", room: str | None = None, until_ms: int | None = None) -> Penalties:
    return Penalties(mutes=[Mute("m1", person, room, "", NOW_MS, until_ms, "operator:o1")])


def judge(
    policy: Policy,
    text: str = "hello",
    *,
    who: Member | None = None,
    room: str = "public",
    in_booth: bool = False,
    opening: bool = False,
    now: float = 0.0,
    key: str | None = None,
) -> Verdict | Refusal:
    now_ms = NOW_MS + round(1000 * now)
    return policy.judge(
        who or member(), room, text, in_booth=in_booth, opening=opening, now=now, now_ms=now_ms, key=key
    )


def code(verdict: Verdict | Refusal | None) -> str | None:
    """Of a refusal, or the kind of a verdict."""
    if verdict is None:
        return None
    return verdict.code if isinstance(verdict, Refusal) else verdict.kind


def test_without_a_rule_or_a_penalty_nobody_needs_to_ask() -> None:
    """And once there was one and it is gone, nobody does again."""
    policy = Policy()
    assert judge(policy) == PASS
    was_open = [policy.is_open]
    for penalties in (muted(), Penalties()):
        policy.change(penalties=penalties)
        was_open.append(policy.is_open)
    assert was_open == [True, False, True]


@pytest.mark.parametrize(
    "change", [lambda policy: policy.change(rules=WORDS), lambda policy: policy.change(penalties=muted())]
)
def test_a_rule_or_a_penalty_is_asked_for(change: Callable[[Policy], None]) -> None:
    """By everybody who speaks, whomever it concerns; the other one stays as it was."""
    policy = Policy()
    change(policy)
    assert not policy.is_open
    policy.change()
    assert not policy.is_open


def test_a_classifier_sees_every_text() -> None:
    """So nobody just speaks."""
    assert not Policy(classifies=True).is_open


def test_who_is_banned_may_not_connect() -> None:
    """By person or by address, until it ends."""
    policy = Policy()
    ban = Ban("b1", "person", "p-ada", "rude", NOW_MS, NOW_MS + 1000, "operator:o1")
    policy.change(penalties=Penalties(bans=[ban, Ban("b2", "address", "h-1", "", NOW_MS, None, "operator:o1")]))
    refusal = policy.may_connect("p-ada", None, NOW_MS + 400)
    assert refusal is not None
    assert (refusal.code, refusal.retry_after_ms) == ("banned", 600)
    assert code(policy.may_connect(None, "h-1", NOW_MS)) == "banned"
    assert policy.may_connect("p-ada", "h-2", NOW_MS + 1000) is None


def test_who_is_muted_may_not_speak() -> None:
    """In that room, or anywhere, booths too; nor change what they said, nor be seen otherwise."""
    policy = Policy()
    policy.change(penalties=muted(room="tea"))
    assert code(judge(policy, room="tea")) == "muted"
    assert judge(policy) == PASS
    policy.change(penalties=muted())
    assert code(judge(policy, room="booth-1", in_booth=True)) == "muted"
    assert judge(policy, who=member("p-bo")) == PASS
    assert code(policy.judge_edit(member(), "public", "hi", in_booth=False, now_ms=NOW_MS)) == "muted"
    assert code(policy.may_speak(member(), "public", NOW_MS)) == "muted"


def test_in_a_locked_room_moderators_speak() -> None:
    """Nobody else."""
    policy = Policy()
    policy.change(penalties=Penalties(modes={"public": Mode(locked=True)}))
    assert code(judge(policy)) == "locked"
    assert judge(policy, who=member("p-cy", "moderator")) == PASS


def test_in_a_slow_room_each_one_waits_for_their_turn() -> None:
    """What was refused is no turn; edits and what is shown in passing need none."""
    policy = Policy(rules=WORDS)
    policy.change(penalties=Penalties(modes={"public": Mode(slow_ms=10_000)}))
    assert code(judge(policy, "spam")) == "refuse"
    assert judge(policy, now=1.0) == PASS
    refusal = judge(policy, now=4.0)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.retry, refusal.retry_after_ms) == ("rate_limited", True, 7000)
    assert judge(policy, who=member("p-bo"), now=4.0) == PASS
    assert policy.judge_edit(member(), "public", "hi", in_booth=False, now_ms=NOW_MS + 4000) == PASS
    assert policy.may_speak(member(), "public", NOW_MS + 4000) is None
    assert judge(policy, now=11.0) == PASS


@pytest.mark.parametrize(
    ("text", "kind", "in_booth", "in_edit"),
    [
        ("hello", "pass", "pass", "pass"),
        ("hm", "flag", "pass", "flag"),
        ("maybe", "hold", "refuse", "refuse"),
        ("spam", "refuse", "refuse", "refuse"),
    ],
)
def test_what_the_filter_says_depends_on_the_place(text: str, kind: Kind, in_booth: Kind, in_edit: Kind) -> None:
    """No moderator looks into a booth; and an edit can't wait for one, for the message is there already."""
    policy = Policy(rules=WORDS)
    assert code(judge(policy, text)) == kind
    assert code(judge(policy, text, room="booth-1", in_booth=True)) == in_booth
    assert code(policy.judge_edit(member(), "public", text, in_booth=False, now_ms=NOW_MS)) == in_edit
    assert code(policy.judge_edit(member(), "booth-1", text, in_booth=True, now_ms=NOW_MS)) == in_booth


def test_what_opens_a_talk_has_rules_of_its_own() -> None:
    """Links, here."""
    policy = Policy(rules=FilterRules(opening_links="refuse"))
    link = "look at https://example.org/"
    assert code(judge(policy, link, room="booth-1", in_booth=True, opening=True)) == "refuse"
    assert code(judge(policy, link, room="booth-1", in_booth=True)) == "pass"


# The same message again


def test_a_message_that_comes_again_is_no_second_one() -> None:
    """Its answer was lost, or the connection: neither a repeat, nor another turn in a slow room."""
    policy = Policy(rules=FilterRules(repeats=Limit(2, 600.0, "refuse")))
    policy.change(penalties=Penalties(modes={"public": Mode(slow_ms=10_000)}))
    text = "have you seen my cat?"
    assert judge(policy, text, key="k1") == PASS
    assert judge(policy, text, key="k1", now=1.0) == PASS
    assert code(judge(policy, text, key="k2", now=1.0)) == "rate_limited"
    assert code(judge(policy, text, key="k2", now=11.0)) == "refuse"


def test_it_is_judged_as_before() -> None:
    """Also what a moderator has to see."""
    policy = Policy(rules=WORDS)
    verdict = judge(policy, "maybe", key="k1")
    assert judge(policy, "maybe", key="k1") == verdict
    assert code(verdict) == "hold"


def test_a_penalty_counts_for_it_all_the_same() -> None:
    """Who was muted meanwhile is."""
    policy = Policy(rules=WORDS)
    judge(policy, key="k1")
    policy.change(penalties=muted())
    assert code(judge(policy, key="k1")) == "muted"


@pytest.mark.parametrize(
    "again",
    [
        lambda policy: judge(policy, "have you seen my cat? spam", key="k1"),
        lambda policy: judge(policy, "have you seen my cat?", key="k2"),
        lambda policy: judge(policy, "have you seen my cat?"),
        lambda policy: judge(policy, "have you seen my cat?", key="k1", now=KEY_SECONDS),
    ],
)
def test_another_message_is_judged_anew(again: Callable[[Policy], Verdict | Refusal]) -> None:
    """By another text, another key, none, or too late."""
    policy = Policy(rules=FilterRules(words={"spam": "refuse"}, repeats=Limit(2, 3600.0, "refuse")))
    assert judge(policy, "have you seen my cat?", key="k1") == PASS
    assert code(again(policy)) == "refuse"


def test_what_was_refused_may_be_said_once_it_is_allowed() -> None:
    """Under the same key: nothing was said yet."""
    policy = Policy(rules=WORDS)
    assert code(judge(policy, "spam", key="k1")) == "refuse"
    policy.change(rules=FilterRules(words={"eggs": "refuse"}))
    assert judge(policy, "spam", key="k1") == PASS


def test_the_oldest_messages_are_forgotten_first() -> None:
    """Nobody fills the memory with keys."""
    policy = Policy(rules=FilterRules(words={"spam": "flag"}, repeats=Limit(2, 600.0, "refuse")))
    text = "have you seen my cat?"
    assert judge(policy, text, key="k0", who=member("p-0")) == PASS
    assert judge(policy, text, key="k1", who=member("p-1")) == PASS
    for number in range(2, KEYS_LIMIT + 1):
        judge(policy, "hi", key=f"k{number}")
    assert code(judge(policy, text, key="k0", who=member("p-0"))) == "refuse"
    assert judge(policy, text, key="k1", who=member("p-1")) == PASS

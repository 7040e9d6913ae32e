"""Budgets, names and texts: what may be said, how often, and as whom."""

import unicodedata
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.core.moderation import MARKS_LIMIT, NAME_LIMIT, TEXT_LIMIT, Budget, checked_name, checked_text, mended_name
from parlour.errors import ERROR_CODES, Refusal
from tests.core.names import FINE, WRONG, any_names, fine_names

# Budgets


def test_a_budget_gives_a_burst_and_then_the_rate() -> None:
    """Rate 10, burst 3: three at once, the next after a tenth of a second."""
    budget = Budget(10.0, 3)
    assert [budget.take(100.0) for _ in range(5)] == [True, True, True, False, False]
    assert budget.ready_at() == pytest.approx(100.1)
    assert not budget.take(100.05)
    assert budget.take(100.1)
    assert not budget.take(100.15)


def test_a_budget_never_holds_more_than_its_burst() -> None:
    """A year of quiet gives no more than some seconds of it."""
    budget = Budget(10.0, 3)
    assert [budget.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [budget.take(3e7) for _ in range(4)] == [True, True, True, False]


def test_a_budget_says_when_all_has_come_back() -> None:
    """New, and again once everything that was taken is paid for."""
    budget = Budget(10.0, 3)
    assert budget.is_full(0.0)
    assert budget.ready_at() == -inf
    budget.take(0.0)
    budget.take(0.0)
    assert not budget.is_full(0.19)
    assert budget.is_full(0.2)


def test_one_who_keeps_exactly_to_the_rate_passes() -> None:
    """Though a tenth is no exact float, and sums of it less so."""
    budget = Budget(10.0, 1)
    now = 0.0
    for _ in range(100_000):
        assert budget.take(now)
        now += 0.1


@given(
    rate=st.floats(min_value=0.01, max_value=1e5),
    burst=st.integers(min_value=1, max_value=1_000),
    start=st.floats(min_value=0.0, max_value=1e9),
    steps=st.lists(st.floats(min_value=0.0, max_value=30.0), max_size=50),
)
def test_ready_at_is_when_the_next_one_is_given(rate: float, burst: int, start: float, steps: list[float]) -> None:
    """To the bit, on any clock: whoever waits for it need not ask twice."""
    budget = Budget(rate, burst)
    now = start
    for step in steps:
        now += step
        ready = budget.ready_at()
        assert budget.take(now) is (now >= ready)
        now = max(now, budget.ready_at())
        assert budget.take(now)


@given(
    burst=st.integers(min_value=1, max_value=5),
    steps=st.lists(st.integers(min_value=0, max_value=4), min_size=1, max_size=60),
)
def test_a_budget_is_exact(burst: int, steps: list[int]) -> None:
    """Against a bucket of whole tokens: one comes back each second, asked at quarters of a second."""
    budget = Budget(1.0, burst)
    quarter, tokens = 0, 4 * burst
    for step in steps:
        quarter += step
        tokens = min(4 * burst, tokens + step)
        enough = tokens >= 4
        tokens -= 4 * enough
        assert budget.take(quarter / 4) is enough


# Names


@pytest.mark.parametrize("name", FINE.values(), ids=FINE.keys())
def test_a_name_that_is_allowed(name: str) -> None:
    """It is taken as it is, but for spaces around it."""
    assert checked_name(name) == name
    assert checked_name(f" \u3000{name}\n ") == name
    assert mended_name(name) == name


@pytest.mark.parametrize(("name", "reason"), WRONG.values(), ids=WRONG.keys())
def test_a_name_that_is_not_allowed(name: str, reason: str) -> None:
    """The refusal names the field and says why, without the name itself."""
    refusal = checked_name(name)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.field, refusal.retry) == ("bad_name", "username", False)
    assert reason in refusal.message


@given(any_names)
def test_what_an_accepted_name_is(name: str) -> None:
    """The rules, said once more in another way."""
    accepted = checked_name(name)
    if isinstance(accepted, Refusal):
        assert accepted.code in ERROR_CODES
        return
    assert accepted == name.strip()
    assert checked_name(accepted) == accepted
    assert 0 < len(accepted) <= NAME_LIMIT
    assert "> " not in accepted
    assert not accepted.startswith("! ")
    categories = [unicodedata.category(character) for character in accepted if character not in "\u200c\u200d"]
    assert not {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"} & set(categories)
    marks = "".join("m" if category in ("Mn", "Me") else "." for category in categories)
    assert "m" * (MARKS_LIMIT + 1) not in marks
    assert accepted.encode().decode() == accepted


@given(st.text(st.sampled_from("aZ09 _.-"), min_size=1, max_size=70))
def test_simple_names_are_fine_as_they_are(name: str) -> None:
    """Letters, digits and the usual joints need no closer look, up to 64 characters."""
    name = name.strip()
    assert (checked_name(name) == name) is (0 < len(name) <= NAME_LIMIT)


# Names that were proved elsewhere


@pytest.mark.parametrize(
    ("proved", "name"),
    [
        ("Ada Lovelace", "Ada Lovelace"),
        (" Ada\t\u202eLovelace\u200b ", "AdaLovelace"),
        ("ada> really", "ada really"),
        ("ada>>> > really", "ada really"),
        ("ada>\u00a0really", "ada really"),
        ("! ada", "ada"),
        ("! ! ada", "ada"),
        ("!\u00a0ada", "ada"),
        ("x" * 200, "x" * 64),
        ("x" * 63 + " " + "y" * 200, "x" * 63),
        ("\u202e! ada", "ada"),
        ("ada\ud800", "ada"),
        ("ada! bo\u202e", "ada! bo"),
        ("", "someone"),
        ("\u200b", "someone"),
        ("! ", "!"),
        ("\u3164", "someone"),
    ],
)
def test_a_proved_name_is_mended(proved: str, name: str) -> None:
    """Its owner can't choose another one here, so what is not allowed is left out."""
    assert mended_name(proved) == name


@given(any_names)
def test_a_mended_name_is_allowed(name: str) -> None:
    """Whatever the host app gives; and what was allowed before is left alone."""
    mended = mended_name(name)
    assert checked_name(mended) == mended
    accepted = checked_name(name)
    if isinstance(accepted, str):
        assert mended == accepted


@given(fine_names)
def test_names_for_other_tests_are_allowed(name: str) -> None:
    """The strategy gives what it promises."""
    assert checked_name(name) == name


# Texts


def test_a_text_has_at_most_ten_thousand_characters() -> None:
    """Characters, not bytes."""
    assert checked_text("") is None
    assert checked_text("\U0001f98a" * TEXT_LIMIT) is None
    refusal = checked_text("x" * (TEXT_LIMIT + 1))
    assert refusal is not None
    assert (refusal.code, refusal.field) == ("too_large", "message")
    assert "10000" in refusal.message


@pytest.mark.parametrize(
    "name", ["ad\u034fmin", "a\ufe0fdmin", "admin>\ufe0f I will", "!\ufe0f bad_frame: x", "x\U000e0100", "\u17b4x"]
)
def test_marks_that_nobody_sees_make_no_second_admin(name: str) -> None:
    refusal = checked_name(name)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "bad_name"


@pytest.mark.parametrize("name", ["\u2764\ufe0f\u200d\U0001f525", "1\ufe0f\u20e3", "\u2194\ufe0f"])
def test_emoji_are_names(name: str) -> None:
    assert checked_name(name) == name

"""Budgets, texts and emoji: what may be said, and how often."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.core.moderation import TEXT_LIMIT, Budget, checked_emoji, checked_text

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


# Texts


def test_a_text_has_at_most_ten_thousand_characters() -> None:
    """Characters, not bytes."""
    assert checked_text("") is None
    assert checked_text("\U0001f98a" * TEXT_LIMIT) is None
    refusal = checked_text("x" * (TEXT_LIMIT + 1))
    assert refusal is not None
    assert (refusal.code, refusal.field) == ("too_large", "message")
    assert "10000" in refusal.message


# Emoji


@pytest.mark.parametrize(
    "emoji",
    [
        *("\U0001f44d", "\U0001f98a", "\u2728", "\u00a9", "\u2122"),
        *("\u2764\ufe0f", "\u2764", "\u2764\ufe0f\u200d\U0001f525"),  # hearts
        *("\U0001f1f3\U0001f1f1", "\U0001f3f4\u200d\u2620\ufe0f"),  # flags
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
        *("1\ufe0f\u20e3", "#\ufe0f\u20e3", "*\u20e3"),  # keycaps
        *("\U0001f44d\U0001f3fd", "\U0001f9d1\U0001f3ff\u200d\U0001f4bb"),  # skin tones
        "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",  # a family
        *("\u203c\ufe0f", "\u2049\ufe0f", "\u2194\ufe0f", "\u25fe", "\u2139\ufe0f", "\u3030\ufe0f", "\u303d\ufe0f"),
    ],
)
def test_emoji_may_be_put_to_messages(emoji: str) -> None:
    """Those of one character and those of many."""
    assert checked_emoji(emoji) is None


@pytest.mark.parametrize(
    "word",
    [
        *("", " ", "\u3000", "\n", "\u200d", "\ufe0f", "\u20e3"),
        *("a", "A1", "1", "12", "#", "ok", "lol", "\u0416", "\u4eba"),
        *("!", "\u203c", "+", "\u0301", "\U0001f3fd", ":)", "<b>"),
        *("a\U0001f44d", "\U0001f44d!", "\U0001f44d 1", "a\u20e3", "\U0001f44d\ud800"),
        *("1\U0001f44d", "\U0001f44d\u200d", "\U0001f1f3", "\U0001f1f3\U0001f1f1\U0001f1f3"),
        *("\U0001f44d\U0001f44d", "\U0001f44d \U0001f44d", "\u2800\u2801"),  # more than one
    ],
)
def test_words_are_no_emoji(word: str) -> None:
    """Letters, digits, blanks and signs, and what only binds them; also beside an emoji. Nor are two emoji one."""
    refusal = checked_emoji(word)
    assert refusal is not None
    assert (refusal.code, refusal.field) == ("bad_field", "emoji")

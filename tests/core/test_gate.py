"""What must be accepted before meeting strangers."""

import pytest

from parlour.core.gate import NOT_MET, Accepted, Admitted, Gate
from parlour.errors import CLOSE_CODES, Refusal

TERMS = Gate("2", "https://example.org/terms")
BANDS = Gate("2", bands={"adult": 18, "16-17": 16})


def test_the_newest_terms_are_asked_for() -> None:
    """Who accepted older ones is asked again."""
    for accepted in (None, Accepted("1"), Accepted("")):
        refusal = TERMS.admit(accepted)
        assert isinstance(refusal, Refusal)
        assert (refusal.code, refusal.field) == ("required", "terms")
        assert "https://example.org/terms" in refusal.message
    assert TERMS.admit(Accepted("2")) == Admitted(None)
    assert not TERMS.asks_age


def test_people_are_admitted_to_the_band_of_their_age() -> None:
    assert BANDS.asks_age
    ages = (16, 17, 18, 99)
    assert [BANDS.admit(Accepted("2", age)) for age in ages] == [
        Admitted("16-17"),
        Admitted("16-17"),
        Admitted("adult"),
        Admitted("adult"),
    ]


def test_who_was_admitted_before_is_not_asked_again() -> None:
    """Unless the terms changed since, or the bands."""
    assert TERMS.readmit("2", None) == Admitted(None)
    assert TERMS.readmit("2", "adult") == Admitted(None)
    assert BANDS.readmit("2", "adult") == Admitted("adult")
    for version, band in ((None, None), ("1", "adult"), ("2", None), ("2", "child")):
        refusal = BANDS.readmit(version, band)
        assert isinstance(refusal, Refusal)
        assert refusal.code == "required"


def test_the_refusal_of_the_young_does_not_tell_the_age() -> None:
    refusal = BANDS.admit(Accepted("2", 15))
    assert isinstance(refusal, Refusal)
    assert refusal.code == "forbidden"
    assert not any(digit in refusal.message for digit in "0123456789")


@pytest.mark.parametrize("age", [None, -1, 151])
def test_an_age_that_is_none_is_asked_for(age: int | None) -> None:
    refusal = BANDS.admit(Accepted("2", age))
    assert isinstance(refusal, Refusal)
    assert refusal.code == "required"


def test_a_gate_that_can_not_work_is_an_error() -> None:
    with pytest.raises(ValueError, match="version"):
        Gate("")
    with pytest.raises(ValueError, match="lowest age"):
        Gate("1", bands={"a": 18, "b": 18})
    with pytest.raises(ValueError, match="lowest age"):
        Gate("1", bands={"a": -1})


def test_a_client_that_says_lines_does_not_come_back() -> None:
    assert NOT_MET.code in CLOSE_CODES
    assert not NOT_MET.reconnect

"""The chain of the audit log."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from parlour.core.records import AuditEntry, chained, first_broken


def log(number: int) -> list[AuditEntry]:
    entries = list[AuditEntry]()
    for n in range(number):
        previous = entries[-1] if entries else None
        entries.append(chained(previous, ts=1000 + n, actor="op", action="ban", subject=f"p-{n}", details='{"a": 1}'))
    return entries


def test_a_chain_holds() -> None:
    entries = log(5)
    assert first_broken([]) is None
    assert first_broken(entries) is None
    assert first_broken(entries[3:], entries[2]) is None
    assert [entry.n for entry in entries] == [1, 2, 3, 4, 5]
    assert all(after.prev_hash == before.hash for before, after in pairwise(entries))


@pytest.mark.parametrize("field", ["n", "ts", "actor", "action", "subject", "details", "prev_hash", "hash"])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_any_change_shows(field: str, place: int) -> None:
    entries = log(5)
    old = getattr(entries[place], field)
    changed: dict[str, Any] = {field: old + 1 if isinstance(old, int) else old + "x"}
    entries[place] = replace(entries[place], **changed)
    assert first_broken(entries) == place + 1


def test_a_missing_or_moved_entry_shows() -> None:
    entries = log(5)
    assert first_broken(entries[1:]) == 1
    assert first_broken(entries[:2] + entries[3:]) == 3
    assert first_broken([entries[0], entries[2], entries[1], *entries[3:]]) == 2


def test_words_can_not_move_between_fields() -> None:
    """Each part counts with its length."""
    one = chained(None, ts=1, actor="ab", action="c")
    other = chained(None, ts=1, actor="a", action="bc")
    assert one.hash != other.hash

"""Which wire a client speaks, by the subprotocols it offers."""

import pytest

from parlour.wire import Plain, chosen


@pytest.mark.parametrize(
    "offered",
    [[], ["mqtt"], ["graphql-ws", "chat.v2"], ["xparlour.v1.json"], ["parlour"], ["Parlour.v1.json"], [""]],
)
def test_without_a_name_of_ours_it_is_plain(offered: list[str]) -> None:
    """None offered, or only those of others: plain, and none is selected."""
    plain = Plain()
    assert chosen(offered, plain) == (plain, None)


@pytest.mark.parametrize(
    ("offered", "selected"),
    [
        (["parlour.v99.json"], "parlour.v99.json"),
        (["mqtt", "parlour.v99.json"], "parlour.v99.json"),
        (["parlour.v99.json", "mqtt"], "parlour.v99.json"),
        (["parlour.v98.json", "parlour.v99.json"], "parlour.v98.json"),
        (["parlour."], "parlour."),
    ],
)
def test_a_version_that_is_not_spoken_here_is_selected_to_be_closed(offered: list[str], selected: str) -> None:
    """No wire for it, but an answer that lets a browser's script see the close code."""
    assert chosen(offered, Plain()) == (None, selected)

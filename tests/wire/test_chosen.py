"""Which wire a client speaks, by the subprotocols it offers."""

import pytest

from parlour.wire import V1, Plain, chosen

PLAIN, V1_WIRE = Plain(), V1()


@pytest.mark.parametrize(
    "offered",
    [[], ["mqtt"], ["graphql-ws", "chat.v2"], ["xparlour.v1.json"], ["parlour"], ["Parlour.v1.json"], [""]],
)
def test_without_a_name_of_ours_it_is_plain(offered: list[str]) -> None:
    """None offered, or only those of others: plain, and none is selected."""
    assert chosen(offered, PLAIN, V1_WIRE) == (PLAIN, None)


@pytest.mark.parametrize(
    "offered",
    [
        ["parlour.v1.json"],
        ["mqtt", "parlour.v1.json"],
        ["parlour.v99.json", "parlour.v1.json"],
        ["parlour.v1.json", "parlour.v99.json"],
    ],
)
def test_v1_is_chosen_wherever_it_stands(offered: list[str]) -> None:
    """A newer client may offer newer versions first."""
    assert chosen(offered, PLAIN, V1_WIRE) == (V1_WIRE, "parlour.v1.json")


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
    assert chosen(offered, PLAIN, V1_WIRE) == (None, selected)

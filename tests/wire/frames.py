"""Frames and pieces of JSON, sound and damaged, for the tests of every wire."""

import json
from typing import Final
from unicodedata import category

from hypothesis import strategies as st

JSON: Final = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)

_MARKS: Final = '{}[]",:\\-0 \x00\ufeff\ud800'
_SNIPPETS: Final = st.one_of(
    st.just(""),
    st.sampled_from(_MARKS),
    st.sampled_from(["1e9", "NaN", "null", "\\u0000", "\\ud800", '"message":', '"id":', "9" * 5_000]),
    st.text(max_size=3),
)


@st.composite
def _damaged(draw: st.DrawFn, sound: st.SearchStrategy[object]) -> str:
    """JSON with something put in or taken out in some places."""
    text = json.dumps(draw(st.one_of(sound, JSON)), ensure_ascii=draw(st.booleans()))
    for _ in range(draw(st.integers(min_value=0, max_value=4))):
        at = draw(st.integers(min_value=0, max_value=len(text)))
        cut = draw(st.integers(min_value=0, max_value=3))
        text = text[:at] + draw(_SNIPPETS) + text[at + cut :]
    return text


def texts(sound: st.SearchStrategy[object]) -> st.SearchStrategy[str]:
    """Frames: `sound` ones, more or less damaged, and anything else."""
    return st.one_of(_damaged(sound), st.text(st.one_of(st.characters(), st.sampled_from(_MARKS))))


def no_constant(name: str) -> object:
    """For `json.loads(parse_constant=...)`."""
    raise ValueError(f"{name} is no JSON")


def tamed(text: str) -> str:
    """What is said, without control characters but tabs and line breaks."""
    return "".join(" " if category(one) == "Cc" and one not in "\t\n\r" else one for one in text)


def depth(value: object) -> int:
    """Levels of nesting."""
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0

"""What JSON allows and the wires do not: nesting without end, and control characters.

All else that is strict about them (RFC 8259 to the letter, no lone surrogates, no byte order mark) is msgspec's.
"""

import re
from typing import Final

DEPTH_LIMIT: Final = 8
"""Levels of nesting in a frame. The plain wire itself needs one, v1 four; unknown fields are ignored, but not at any
depth."""

_STRUCTURE = re.compile(r'"(?:[^"\\]++|\\.)*+"?|([\[{])|([\]}])', re.DOTALL)
"""Strings and brackets. A string without an end goes to the end of the text: were it no match, the search would begin
anew at every quote in it, and 128 KiB of them take half a minute."""

_NUL = re.compile(r"(?<!\\)(?:\\\\)*+\\u0000")
"""The escape, but not an escaped backslash before `u0000`. The look-behind lets a run of backslashes be tried from its
first one only."""


_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""All but tab, line feed and carriage return."""


def is_too_deep(text: str) -> bool:
    """Whether brackets outside of strings are nested deeper than `DEPTH_LIMIT`."""
    if (
        text.find("{", 1) < 0 and "[" not in text
    ):  # most frames are one flat object, and to find is faster than to count
        return False
    return text.count("{") + text.count("[") > DEPTH_LIMIT and depth(text) > DEPTH_LIMIT


def depth(text: str) -> int:
    """The deepest nesting of brackets outside of strings."""
    now = deepest = 0
    for token in _STRUCTURE.finditer(text):
        if token[1]:
            now += 1
            deepest = max(deepest, now)
        elif token[2]:
            now -= 1
    return deepest


def holds_nul(text: str) -> bool:
    """Whether a JSON text holds the character NUL, which can only stand there as an escape in a string."""
    return "\\u0000" in text and _NUL.search(text) is not None


def without_controls(text: str) -> str:
    """What somebody says, with a space for each control character but tabs and line breaks.

    They mean nothing in a chat, drive terminals, and take six bytes each in JSON: a page of them would be more than a
    client may leave unread.
    """
    if text.isprintable():  # about ten times as fast as the expression, and true of most texts
        return text
    return _CONTROLS.sub(" ", text)

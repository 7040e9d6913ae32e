"""Names that are allowed, names that are not, and strategies that make more of both."""

from typing import Final

from hypothesis import strategies as st

from parlour.core.names import checked_name

FINE: Final = {
    "letter": "a",
    "two words": "Ada Lovelace",
    "digits and dots": "bo_2.0-x",
    "64 characters": "x" * 64,
    "Vietnamese, two marks": "Vie\u0302\u0323t",
    "precomposed": "Łukasz",
    "Hebrew with points": "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd",
    "Arabic": "\u0639\u0644\u064a",
    "Persian with ZWNJ": "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627",
    "Hindi": "\u0915\u094d\u0937\u093f\u0924\u093f\u091c",
    "Hindi with ZWJ": "\u0915\u094d\u200d\u0937",
    "Thai": "\u0e19\u0e49\u0e33",
    "Chinese": "\u674e\u96f7",
    "Japanese with a wide space": "\u5c71\u7530\u3000\u592a\u90ce",
    "Korean": "\uae40\ubbfc\uc900",
    "emoji": "\U0001f98a",
    "emoji family, joined": "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "emoji with variation selectors, joined": "\U0001f441\ufe0f\u200d\U0001f5e8\ufe0f",
    "keycap": "1\ufe0f\u20e3",
    "flag": "\U0001f1f3\U0001f1f1",
    "an arrow without a space": "a>b",
    "an arrow at the end": "ada>",
    "an arrow alone": ">",
    "spaces before an arrow": "ada >bo",
    "bang": "!",
    "bang before a word": "!ada",
    "bang at the end": "ada!",
    "quotes and markup": '<b>"ada"\'s</b>',
}

WRONG: Final = {
    "nothing": ("", "empty"),
    "spaces": (" \u3000\u00a0 ", "empty"),
    "line breaks alone": ("\n\u2028", "empty"),
    "65 characters": ("x" * 65, "longer than 64"),
    "100,000 characters": ("x" * 100_000, "longer than 64"),
    "a line of another": ("admin> really", '"> "'),
    "a line of another, behind other arrows": ("admin>>> really", '"> "'),
    "a line of another, with a no-break space": ("admin>\u00a0really", '"> "'),
    "a line of another, with an ideographic space": ("admin>\u3000really", '"> "'),
    "a line of another, with a blank letter": ("admin>\u3164really", '"> "'),
    "a notice": ("! left: someone went out", '"! "'),
    "a notice, after spaces": ("  ! left", '"! "'),
    "a notice, with a no-break space": ("!\u00a0left: someone went out", '"! "'),
    "a notice, with a blank symbol": ("!\u2800left", '"! "'),
    "NUL": ("a\x00b", "control"),
    "line feed": ("a\nadmin", "control"),
    "carriage return": ("a\rb", "control"),
    "tab": ("a\tb", "control"),
    "escape": ("a\x1b[2Jb", "control"),
    "delete": ("a\x7fb", "control"),
    "next line": ("a\x85b", "control"),
    "line separator": ("a\u2028b", "line separators"),
    "paragraph separator": ("a\u2029b", "paragraph separators"),
    "zero-width space": ("a\u200bb", "invisible"),
    "word joiner": ("a\u2060b", "invisible"),
    "byte order mark": ("a\ufeffb", "invisible"),
    "soft hyphen": ("a\u00adb", "invisible"),
    "left-to-right mark": ("a\u200eb", "invisible"),
    "right-to-left override": ("a\u202egnp", "invisible"),
    "right-to-left isolate": ("a\u2067b\u2069", "invisible"),
    "tag characters": ("a\U000e0061", "invisible"),
    "ZWJ first": ("\u200dab", "invisible"),
    "ZWNJ last": ("ab\u200c", "invisible"),
    "ZWJ beside a space": ("a \u200db", "invisible"),
    "ZWJ twice": ("a\u200d\u200db", "invisible"),
    "private use": ("a\ue000", "private-use"),
    "private use, far up": ("a\U000f0000", "private-use"),
    "unassigned": ("a\u0378", "unassigned"),
    "noncharacter": ("a\uffff", "unassigned"),
    "lone surrogate": ("a\ud800", "surrogates"),
    "three marks": ("a\u0301\u0302\u0303", "combining marks"),
    "marks over and over": ("Z" + "\u0334\u0335\u0336\u0337" * 10, "combining marks"),
    "enclosing marks": ("a\u20dd\u20de\u20df", "combining marks"),
    "marks stacked across joiners": ("a" + "\u0301\u0302\u200d" * 4 + "b", "combining marks"),
    "fillers": ("\u3164\u115f\u1160\uffa0\u2800", "no visible character"),
    "marks alone": ("\u0301\u0302", "no visible character"),
}

_TROUBLE: Final = "> !\u00a0\u3000\u3164\u200c\u200d\u0301\u0302\u20dd\n\r\t\x00\x1c\x85\u2028\u2029\u202e\ufeff"

any_names: Final = st.text(
    st.one_of(
        st.sampled_from(_TROUBLE),
        st.characters(),
        st.characters(categories=("Lu", "Ll", "Lo", "Mn", "Nd", "Sm", "So", "Po", "Zs")),
        st.sampled_from("abc"),
    ),
    max_size=70,
)

fine_names: Final = st.one_of(
    st.sampled_from(sorted(FINE.values())),
    st.text(
        st.one_of(
            st.sampled_from("abc>! \u00a0\u3000"),
            st.characters(categories=("L", "N", "P", "S", "Zs")),
            st.characters(categories=("Mn", "Lo")),
        ),
        min_size=1,
        max_size=64,
    )
    .map(checked_name)
    .filter(lambda name: isinstance(name, str))
    .map(str),
)
"""Names as `checked_name` gives them."""

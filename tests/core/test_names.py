"""Names: which are allowed, which look alike, and what somebody is called who gave none."""

import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.core import confusables
from parlour.core.names import (
    MARKS_LIMIT,
    NAME_LIMIT,
    NameRules,
    checked_name,
    given_name,
    mended_name,
    skeleton,
)
from parlour.errors import ERROR_CODES, Refusal
from tests.core.make_confusables import Icu, prototypes
from tests.core.names import FINE, WRONG, any_names, fine_names
from tests.support import require

# What a name may hold


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


def test_a_refusal_names_the_field_as_the_client_does() -> None:
    """Wires call it otherwise."""
    for refusal in (
        checked_name("", "name"),
        NameRules().checked("", "name"),
        NameRules(["ada"]).checked("Ada", "name"),
    ):
        assert isinstance(refusal, Refusal)
        assert refusal.field == "name"


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


@pytest.mark.parametrize(
    "name", ["ad\u034fmin", "a\ufe0fdmin", "admin>\ufe0f I will", "!\ufe0f bad_frame: x", "x\U000e0100", "\u17b4x"]
)
def test_marks_that_nobody_sees_make_no_second_admin(name: str) -> None:
    """They are refused, whether or not a name is reserved."""
    refusal = checked_name(name)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "bad_name"


@pytest.mark.parametrize("name", ["\u2764\ufe0f\u200d\U0001f525", "1\ufe0f\u20e3", "\u2194\ufe0f"])
def test_emoji_are_names(name: str) -> None:
    """The marks that bind them are theirs."""
    assert checked_name(name) == name


# What looks alike

ADMIN = {
    "as it is": "admin",
    "a capital": "Admin",
    "capitals": "ADMIN",
    "a capital I for the i": "AdmIn",
    "an l for the i": "admln",
    "a one for the i": "adm1n",
    "a bar for the i": "adm|n",
    "r and n for the m": "adrnin",
    "R and n for the m": "AdRnIn",
    "Cyrillic a": "\u0430dmin",
    "Cyrillic capitals": "\u0410D\u041cIN",
    "a Cyrillic capital in the middle": "ad\u041cin",
    "Cyrillic i": "adm\u0456n",
    "Greek capitals": "\u0391D\u039c\u0399\u039d",
    "Greek small letters": "\u03b1dm\u03b9n",
    "Armenian n": "admi\u0578",
    "Cherokee": "\u13aa\u13a0min",
    "two scripts, two cases": "\u0251d\u041c\u0456n",
    "fullwidth": "\uff41\uff44\uff4d\uff49\uff4e",
    "fullwidth capitals": "\uff21\uff24\uff2d\uff29\uff2e",
    "mathematical bold": "\U0001d41a\U0001d41d\U0001d426\U0001d422\U0001d427",
    "mathematical script": "\U0001d4d0\U0001d4b9\U0001d4c2\U0001d4be\U0001d4c3",
    "double-struck": "\U0001d552\U0001d555\U0001d55e\U0001d55a\U0001d55f",
    "circled": "\u24d0\u24d3\u24dc\u24d8\u24dd",
    "small Roman numerals": "a\u217e\u217f\u2170n",
    "dotless i": "adm\u0131n",
    "i with another dot": "admi\u0307n",
    "Turkish capital": "ADM\u0130N",
    "blanks inside": "a d m i n",
    "a wide blank inside": "ad\u3000min",
    "a blank letter inside": "ad\u3164min",
    "a Braille blank inside": "ad\u2800min",
    "a non-joiner inside": "ad\u200cmin",
    "a joiner inside": "ad\u200dmin",
}


@pytest.mark.parametrize("name", ADMIN.values(), ids=ADMIN.keys())
def test_what_looks_like_admin_is_refused(name: str) -> None:
    """Each is a name that is allowed by itself, and no longer where `admin` is reserved."""
    assert NameRules().checked(name) == name
    assert NameRules(["Carol"]).checked(name) == name
    refusal = NameRules(["Carol", "admin"]).checked(f" {name} ")
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.field, refusal.retry) == ("bad_name", "username", False)
    assert "reserved" in refusal.message


@pytest.mark.parametrize("name", ADMIN.values(), ids=ADMIN.keys())
def test_what_looks_alike_has_one_skeleton(name: str) -> None:
    """It takes no second name to see it."""
    assert skeleton(name) == skeleton("admin")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "\u0410\u0440\u0438\u043d\u0430",
            "\u0395\u03bb\u03ad\u03bd\u03b7",
            "\u5c0f\u6797",
            "\u0645\u062d\u0645\u062f",
        ),
        *(
            "\u0928\u0947\u0939\u093e",
            "Jos\u00e9",
            "Jose\u0301",
            "Administrator",
            "Adam",
            "Nadim",
            "admin2",
            "\u00e1dmin",
            "minad",
        ),
        *FINE.values(),
    ],
)
def test_other_names_stay_free(name: str) -> None:
    """In every script, with and without a reserved name."""
    assert NameRules().checked(name) == name
    assert NameRules(["admin"]).checked(f" {name} ") == name


@pytest.mark.parametrize(("name", "reason"), WRONG.values(), ids=WRONG.keys())
def test_a_reserved_name_allows_nothing_new(name: str, reason: str) -> None:
    """What is refused without one is refused with one, for the same reason."""
    refusal = NameRules(["admin", ">", "\u3164", ""]).checked(name)
    assert refusal == checked_name(name)


@pytest.mark.parametrize(
    ("reserved", "name"),
    [
        ("\u0410\u0434\u043c\u0438\u043d", "\u0430\u0434\u043c\u0438\u043d"),
        ("\u0410\u0434\u043c\u0438\u043d", "\u0410\u0414\u041c\u0418\u041d"),
        ("\u0410\u0434\u043c\u0438\u043d", "A\u0434\u043c\u0438\u043d"),
        ("\u0410\u0434\u043c\u0438\u043d", "A\u0414M\u0418H"),
        ("\u0410\u0434\u043c\u0438\u043d", "\u0410\u0434M\u0438\u043d"),
        ("\u039c\u03b1\u03c1\u03af\u03b1", "\u039c\u0391\u03a1\u038a\u0391"),
        ("\u039c\u03b1\u03c1\u03af\u03b1", "\u03bc\u03b1\u03c1\u03af\u03b1"),
        ("\u039c\u03b1\u03c1\u03af\u03b1", "M\u03b1\u03c1\u03af\u03b1"),
        ("Stra\u00dfe", "STRASSE"),
        ("root", "R00T"),
        ("Bo\u00b2", "bo2"),
        ("Jos\u00e9", "JOSE\u0301"),
        ("caf\u00e9 owner", "Caf\u00e9Owner"),
    ],
)
def test_reserved_names_of_other_scripts(reserved: str, name: str) -> None:
    """Their own small letters and capitals are alike, and so is what looks like either."""
    assert isinstance(NameRules([reserved]).checked(name), Refusal)
    assert isinstance(NameRules([name]).checked(reserved), Refusal)


@pytest.mark.parametrize(("one", "other"), [("Ben", "Bev"), ("Nora", "Vora"), ("Yul", "Uul"), ("Jos\u00e9", "Jose")])
def test_what_looks_different_has_another_skeleton(one: str, other: str) -> None:
    """Also where a third script has a letter whose capital is like one and whose small form like the other."""
    assert skeleton(one) != skeleton(other)
    assert NameRules([one]).checked(other) == other


looking_alike = st.text(
    st.one_of(
        st.sampled_from("admin ADMIN1|ol0OrnjJ\u0307\u0130\u0131\u200d\u00b4\u2800\u3164"),
        st.sampled_from("".join(confusables.LOOKS.split())),
        st.characters(),
    ),
    max_size=20,
)


@given(st.one_of(looking_alike, any_names))
def test_a_skeleton_is_its_own(name: str) -> None:
    """Nothing is left to be done; the cases of ASCII and blanks around make no difference."""
    bones = skeleton(name)
    assert skeleton(bones) == bones
    assert skeleton(f" {name}\u3000") == bones
    assert unicodedata.normalize("NFKD", bones) == bones
    if name.isascii():
        assert skeleton(name.upper()) == skeleton(name.lower()) == bones


def test_every_character_has_a_skeleton_and_keeps_it() -> None:
    """One by one, so that whatever they form together has one. What is seen never comes out as nothing: only a name
    that is refused has an empty one."""
    for character in map(chr, range(sys.maxunicode + 1)):
        bones = skeleton(character)
        assert bones == character or skeleton(bones) == bones
        assert bones or isinstance(checked_name(character), Refusal), hex(ord(character))


@given(st.lists(looking_alike, max_size=3), st.one_of(looking_alike, fine_names))
def test_no_accepted_name_looks_like_a_reserved_one(reserved: list[str], name: str) -> None:
    """Whatever is reserved; and each reserved name that would be one is refused."""
    rules = NameRules(reserved)
    accepted = rules.checked(name)
    if isinstance(accepted, str):
        assert accepted == checked_name(name)
        assert skeleton(accepted) not in set(map(skeleton, reserved))
    for one in reserved:
        assert isinstance(rules.checked(one), Refusal)


def test_the_data_are_unicode_s() -> None:
    """What ICU, Unicode's own library, makes of each character is what the module says."""
    icu = Icu.found()
    require(icu is not None, "there is no ICU on this system (Debian: apt install icu-devtools)")
    assert icu is not None
    if icu.unicode != confusables.UNICODE:
        pytest.skip(
            f"ICU knows Unicode {icu.unicode}, the module {confusables.UNICODE}: CONTRIBUTING.md says how to renew"
        )
    words = confusables.LOOKS.split()
    ours = {one: looks for looks, ones in zip(words[::2], words[1::2], strict=True) for one in ones}
    assert {one: looks for one, looks in ours.items() if "".join(icu.skeleton(one).split()) != looks} == {}
    assert prototypes(icu).items() <= ours.items()


def test_the_data_are_loaded_when_they_are_needed() -> None:
    """A server that reserves no name never reads them."""
    code = """
import sys
from parlour.core.names import NameRules
def loaded(): return "parlour.core.confusables" in sys.modules
NameRules().checked("\u0430dmin")
before = loaded()
NameRules(["admin"])
print(before, loaded())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False True\n"


# Names for those who gave none


def test_given_names_are_stable() -> None:
    """Also from one version of Parlour or Python to the next: whoever comes back is called the same."""
    assert [given_name(f"p{number}") for number in range(3)] == ["Serene Zebra", "Dapper Toucan", "Bright Seahorse"]
    assert [given_name("p0", attempt) for attempt in range(3)] == ["Serene Zebra", "Serene Zebra 2", "Serene Zebra 3"]


@given(st.text(), st.integers(min_value=0, max_value=10**6))
def test_a_given_name_is_allowed(seed: str, attempt: int) -> None:
    """For whatever seed; and each attempt gives another name."""
    name = given_name(seed, attempt)
    assert checked_name(name) == name
    assert given_name(seed, attempt) == name
    assert skeleton(given_name(seed, attempt + 1)) != skeleton(name)


def test_no_two_given_names_look_alike() -> None:
    """All 64 times 64 come up."""
    names = {given_name(str(seed)) for seed in range(100_000)}
    assert len(names) == 64 * 64
    assert len(set(map(skeleton, names))) == len(names)


def test_a_name_is_not_a_crowd_of_sentences() -> None:
    """Signs that stand for whole sentences (U+FDFA is 18 characters) make a name slow to compare; one is fine, and so
    are 64 syllables of Korean, which are taken apart as well."""
    assert checked_name("\ufdfa") == "\ufdfa"
    assert checked_name("\ud55c" * 64) == "\ud55c" * 64
    assert isinstance(checked_name("\ufdfa" * 64), Refusal)

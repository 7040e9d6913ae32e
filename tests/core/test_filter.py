"""What becomes of a text before it is said: words, links, repeats, floods and openings."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parlour.core import filter as filters
from parlour.core.filter import (
    REMEMBERED,
    Filter,
    FilterRules,
    Limit,
    Opinion,
    combined,
    parsed_words,
)
from parlour.core.moderation import PASS, Kind, Verdict

WORDS: dict[str, Kind] = {
    "viagra": "refuse",
    "free money": "hold",
    "ass": "flag",
    "bum": "flag",
    "fall": "flag",
    "fuck": "flag",
    "balls": "flag",
    "spam*": "flag",
    "*coin": "flag",
    "*xqz*": "flag",
    "420": "flag",
    "c++": "flag",
    "\U0001f346": "flag",
    "сука": "flag",
    "сало": "flag",
    "ηλιος": "flag",
    "赌场": "flag",
    "가다": "flag",
}


def judged(text: str, rules: FilterRules) -> Verdict:
    return Filter(rules).judge(text, "ada", "public", 0.0, opening=False)


# Words


@pytest.mark.parametrize(
    "text",
    [
        "viagra",
        "buy VIAGRA now",
        "buy (viagra).",
        "_viagra_",
        "v1agra",
        "vi4gr4",
        "vi@gra",
        "v!agra",
        "v|agra",
        "vIagra",
        "viagrа",  # Cyrillic а
        "ѵіаgrа",  # Cyrillic but for g and r
        "ｖｉａｇｒａ",  # full width
        "𝓿𝓲𝓪𝓰𝓻𝓪",  # mathematical
        "ⓥⓘⓐⓖⓡⓐ",  # in circles
        "vi\u200bag\u00adra",  # a zero-width space, a soft hyphen
        "v\u0336i\u0336a\u0336g\u0336r\u0336a\u0336",  # struck through
        "víágrà",
        "v i a g r a",
        "v.i.a.g.r.a",
        "buy v - i - a - g - r - a here",
        "v 1 @ g r a",
        "viaaaagra",
        "viagra's",
        "买viagra吧",  # Han puts no blanks between words
    ],
)
def test_a_word_is_found_however_it_is_dressed(text: str) -> None:
    verdict = judged(text, FilterRules(words=WORDS))
    assert (verdict.kind, verdict.reasons) == ("refuse", ("word",))


@pytest.mark.parametrize(
    "text",
    [
        "f r e e  m o n e y",
        "FREE   money",
        "free-money!",
        "free\nmoney",
        "fr\u200bee m0ney",
    ],
)
def test_a_phrase_is_found_whatever_divides_its_words(text: str) -> None:
    """But for the first one: nobody can tell where a spelled word ends."""
    expected = "pass" if text.startswith("f r") else "hold"
    assert judged(text, FilterRules(words=WORDS)).kind == expected


@pytest.mark.parametrize(
    "text",
    [
        "ass",
        "@ss",
        "a$$",
        "you a-s-s",
        "asssss",
        "fuuuuck",
        "F U C K",
        "bаlls",  # Cyrillic а
        "baIIs",  # capital i for l
        "ba11s",
        "spam spamming",
        "a spammer",
        "bitcoin",
        "a coin",
        "aaxqzbb",
        "at 420",
        "C++",
        "an \U0001f346",
        "СУКА",
        "сУкА",
        "cyka",  # Latin, for the capitals look so
        "ΗΛΙΟΣ",
        "Ηλιος",
        "去赌场吧",
        "가다",
    ],
)
def test_words_of_all_kinds_are_found(text: str) -> None:
    assert judged(text, FilterRules(words=WORDS)).kind == "flag"


@pytest.mark.parametrize(
    "text",
    [
        "class",
        "the pass is assembled in Massachusetts",
        "assess",
        "Scunthorpe",
        "a burn",  # rn is no m
        "bums",
        "to fail",  # a small i is no l
        "i fall1",
        "bails",
        "asp am",
        "coins",
        "the road A55",
        "455",
        "40 and 20",
        "a2o",
        "c",
        "салон",
        "a s",
        "I a m",
        "가닥",
        "",
        " ",
        "…",
    ],
)
def test_other_words_are_not(text: str) -> None:
    """What is inside a longer word, or only looks like it where fonts are poor, is another word."""
    assert judged(text, FilterRules(words=WORDS)) == PASS


@given(st.text(st.characters(codec="utf-8")) | st.text("viagr 1@$.\u0430\u200b\u0301\uac01I|!", max_size=30))
@example("\ufb01\u0130\u00df\u01c4 \u1e9e")
def test_any_text_can_be_judged_and_is_aligned(text: str) -> None:
    """Each character of the fold has an owner, and the fold made at once is the one made character by character."""
    folded, owners = filters._aligned(text)
    assert folded == filters._fold(text)
    assert len(owners) == len(folded)
    assert owners == sorted(owners)
    rules = FilterRules(words=WORDS, links="flag", shouting="flag", mentions="flag")
    assert judged(text, rules) == judged(text, rules)


@given(
    st.sampled_from(["viagra", "VIAGRA", "v1agra"]), st.text("abc .,!", max_size=20), st.text("abc .,!", max_size=20)
)
def test_a_word_among_others_is_found(word: str, before: str, after: str) -> None:
    assert judged(f"{before} {word} {after}", FilterRules(words=WORDS)).kind == "refuse"


def test_the_strictest_entry_wins() -> None:
    rules = FilterRules(words={"one": "flag", "two": "refuse", "three": "hold", "four": "pass"})
    assert [judged(text, rules).kind for text in ("one", "three one", "three two one", "four")] == [
        "flag",
        "hold",
        "refuse",
        "pass",
    ]


def test_an_entry_needs_something_to_find() -> None:
    for entry in ("", "*", " ** ", "\u200b", "..."):
        with pytest.raises(ValueError, match="an entry of the word list"):
            FilterRules(words={entry: "flag"})


def test_a_word_list_is_read_line_by_line() -> None:
    """Comments and empty lines count, so that the number of a wrong line is right."""
    assert parsed_words("# ours\n\nrefuse viagra  # pills\nhold free money*\nflag viagra\n") == {
        "viagra": "flag",
        "free money*": "hold",
    }
    for text in ("flag a\nforbid b", "flag a\nrefuse", "flag a\nrefuse *"):
        with pytest.raises(ValueError, match="line 2"):
            parsed_words(text)


def test_the_words_for_the_sender_hold_nothing_that_was_said() -> None:
    verdict = judged("viagra", FilterRules(words=WORDS))
    assert verdict.refusal is not None
    assert verdict.refusal.code == "forbidden"
    assert "viagra" not in verdict.refusal.message
    held = judged("free money", FilterRules(words=WORDS)).refusal
    assert held is not None
    assert held.code == "held"
    assert judged("ass", FilterRules(words=WORDS)).refusal is None


# Links

LINKS = FilterRules(links="hold", opening_links="refuse", hosts=frozenset({"example.org", "München.de"}))


@pytest.mark.parametrize(
    "text",
    [
        "http://evil.com",
        "see evil.com",
        "EVIL.COM/x",
        "t.me/abc",
        "//evil.com/x",
        "evil.xyz",
        "http://93.184.215.14/",
        "http://localhost:8000/",
        "http://example.org.evil.com",
        "http://evilexample.org",
        "http://example.org@evil.com/",
        "http://evil.com\\@example.org/",
        "http://example.org%2eevil.com/",
        "http:\\\\evil.xyz",
        "http://evil。com",
        "ｅｖｉｌ．ｃｏｍ",
        "ev\u200bil.com",
        "http://example.org http://evil.com",
        "x" * 500 + " http://evil.com",
        "(" * 505 + "http://evil.xyz",
    ],
)
def test_a_link_to_elsewhere_is_found(text: str) -> None:
    verdict = judged(text, LINKS)
    assert (verdict.kind, verdict.reasons) == ("hold", ("link",))


@pytest.mark.parametrize(
    "text",
    [
        "http://example.org/a?b=c",
        "example.org",
        "https://www.Example.org:443/",
        "http://user@example.org/",
        "http://münchen.de",
        "write to ada@evil.com",
        "mailto:ada@evil.com",
        "version 1.2.3.4 ...",
        "Hello. How are you?",
        "and/or",
        "你好。今天",
    ],
)
def test_what_is_allowed_or_no_link_passes(text: str) -> None:
    assert judged(text, LINKS) == PASS


def test_a_link_to_a_stranger_comes_too_early() -> None:
    """The stricter of the two rules holds for what is said first in a booth."""
    judge = Filter(LINKS).judge
    assert judge("evil.com", "ada", "booth", 0.0, opening=True).kind == "refuse"
    assert judge("evil.com", "ada", "booth", 0.0, opening=False).kind == "hold"
    only = Filter(FilterRules(opening_links="flag"))
    assert only.judge("evil.com", "ada", "booth", 0.0, opening=True).kind == "flag"
    assert only.judge("evil.com", "ada", "booth", 0.0, opening=False) == PASS


# Repeats, floods, openings


def test_nearly_the_same_again_and_again_is_a_repeat() -> None:
    """Blanks, digits, case and look-alikes make no other text; another person, or time, does."""
    judge = Filter(FilterRules(repeats=Limit(3, 30.0, "refuse"))).judge
    texts = ("buy my coins 1", "BUY my... coins 22", "buy mу cоins!")
    assert [judge(text, "ada", f"r{n}", n, opening=False).kind for n, text in enumerate(texts)] == [
        "pass",
        "pass",
        "refuse",
    ]
    assert judge(texts[0], "bo", "r", 3.0, opening=False) == PASS
    assert judge("something else", "ada", "r", 3.0, opening=False) == PASS
    assert judge(texts[0], "ada", "r", 4.0, opening=False).reasons == ("repeat",)
    assert judge(texts[0], "ada", "r", 34.1, opening=False) == PASS


def test_short_answers_are_no_repeats() -> None:
    judge = Filter(FilterRules(repeats=Limit(2, 30.0))).judge
    assert all(judge("yes", "ada", "r", 0.0, opening=False) == PASS for _ in range(9))


def test_an_edit_is_no_repeat() -> None:
    judging = Filter(FilterRules(repeats=Limit(2, 30.0), words=WORDS))
    judging.judge("what a nice day", "ada", "r", 0.0, opening=False)
    assert judging.judge_text("what a nice day!") == PASS
    assert judging.judge_text("what a viagra day!").kind == "refuse"


def test_one_person_can_not_fill_a_room() -> None:
    judge = Filter(FilterRules(flood=Limit(4, 10.0, "refuse"))).judge
    kinds = [judge(f"{n}", "ada", "public", float(n), opening=False).kind for n in range(5)]
    assert kinds == ["pass", "pass", "pass", "refuse", "refuse"]
    assert judge("x", "ada", "other", 5.0, opening=False) == PASS
    assert judge("x", "bo", "public", 5.0, opening=False) == PASS
    assert judge("x", "ada", "public", 14.0, opening=False) == PASS


def test_the_same_opening_in_three_booths_is_spam() -> None:
    judge = Filter(FilterRules(openings=Limit(3, 600.0, "hold"))).judge
    said = "add me on snapgram: ada99"
    assert judge(said, "ada", "b1", 0.0, opening=True) == PASS
    assert judge(said, "ada", "b1", 1.0, opening=True) == PASS, "booths are counted"
    assert judge(said, "ada", "b1", 1.0, opening=False) == PASS
    assert judge(said.upper(), "ada", "b2", 200.0, opening=True) == PASS
    assert judge(said, "bo", "b3", 300.0, opening=True) == PASS
    assert judge(said + "!", "ada", "b3", 599.0, opening=True) == Verdict("hold", ("opening",), None)
    assert judge(said, "ada", "b4", 1199.5, opening=True) == PASS


def test_greetings_are_no_spam() -> None:
    judge = Filter(FilterRules(openings=Limit(3, 600.0))).judge
    assert all(judge("hi there", "ada", f"b{n}", 0.0, opening=True) == PASS for n in range(9))


def test_what_is_known_of_people_is_bounded_and_forgotten() -> None:
    judging = Filter(FilterRules(repeats=Limit(3, 30.0), flood=Limit(5, 10.0)))
    for n in range(REMEMBERED + 500):
        judging.judge("a text that counts", f"p{n}", "r", 0.0, opening=False)
    assert judging._repeats is not None
    assert judging._flood is not None
    assert len(judging._repeats._did) == len(judging._flood._did) == REMEMBERED
    judging.judge("a text that counts", "ada", "r", 30.0, opening=False)
    assert list(judging._repeats._did) == ["ada"]
    assert list(judging._flood._did) == [("ada", "r")]
    for _ in range(1000):
        judging.judge("a text that counts", "ada", "r", 30.0, opening=False)
    assert len(judging._repeats._did["ada"]) == 16


def test_what_is_known_of_characters_is_bounded() -> None:
    filters._fold("".join(map(chr, range(0x3400, 0x3400 + 50_000))))
    assert len(filters._folds) <= filters._FOLDS


# The rest


def test_shouting_and_calling_for_everybody() -> None:
    rules = FilterRules(shouting="flag", mentions="hold")
    assert judged("WHY DOES NOBODY ANSWER ME", rules).reasons == ("shouting",)
    assert judged("OK, I SEE", rules) == PASS
    assert judged("为什么没有人回答我为什么没有人回答我为什么没有人", rules) == PASS
    assert judged("@a @b @c @d @e", rules).reasons == ("mentions",)
    assert judged("a@b a@c a@d a@e a@f @ @ @ @ @", rules) == PASS


def test_all_reasons_are_told_and_the_strictest_counts() -> None:
    rules = FilterRules(words={"coins": "flag"}, links="refuse", shouting="hold")
    verdict = judged("BUY COINS ON EVIL.COM NOW", rules)
    assert (verdict.kind, verdict.reasons) == ("refuse", ("word", "link", "shouting"))
    assert verdict.words is not None
    assert "link" in verdict.words


def test_rules_that_let_everything_pass_need_no_filter() -> None:
    assert not FilterRules()
    assert not FilterRules(words={"a": "pass"}, repeats=Limit(3, 1.0, "pass"), hosts=frozenset({"a.org"}))
    assert FilterRules(words={"a": "flag"})
    assert FilterRules(opening_links="hold")
    assert FilterRules(openings=Limit(3, 600.0))


@pytest.mark.parametrize("limit", [Limit(1, 10.0), Limit(3, 0.0)])
def test_a_limit_that_can_not_work_is_an_error(limit: Limit) -> None:
    with pytest.raises(ValueError, match="flood: a limit"):
        FilterRules(flood=limit)


# An outside classifier


def test_a_classifier_can_be_stricter_but_not_milder() -> None:
    flagged = Verdict("flag", ("word",))
    assert combined(PASS, Opinion("pass", ("fine",)), "hold") is PASS
    assert combined(flagged, Opinion("pass"), "hold") is flagged
    assert combined(flagged, Opinion("hold", ("threat",)), "pass") == Verdict("hold", ("word", "classifier", "threat"))
    refused = combined(PASS, Opinion("refuse"), "pass")
    assert (refused.kind, refused.reasons) == ("refuse", ("classifier",))
    assert refused.words
    strict = Verdict("refuse", ("link",), "words")
    assert combined(strict, Opinion("flag"), "pass") == Verdict("refuse", ("link", "classifier"), "words")


def test_a_classifier_that_does_not_answer_fails_as_stated() -> None:
    assert combined(PASS, None, "pass") is PASS
    assert combined(PASS, None, "hold") == Verdict("hold", ("unclassified",))
    assert combined(Verdict("refuse", ("word",), "no"), None, "hold").kind == "refuse"

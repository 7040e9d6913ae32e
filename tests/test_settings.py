"""What can be set, how, and what is said about a setting that is wrong."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.errors import ParlourError, SettingsError
from parlour.settings import Settings, flag_name, variable_name


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fails(**values: object) -> str:
    """The words of the error that these settings raise when an embedder gives them."""
    with pytest.raises(SettingsError) as caught:
        Settings.model_validate(values)
    return str(caught.value)


def load_fails(**flags: object) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.load(**flags)
    return str(caught.value)


# Where a value comes from


def test_flags_go_before_environment_before_file_before_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Settings.load().port == 8000
    (tmp_path / "parlour.toml").write_text("port = 1111\n")
    assert Settings.load().port == 1111
    monkeypatch.setenv("PARLOUR_PORT", "2222")
    assert Settings.load().port == 2222
    assert Settings.load(port=3333).port == 3333
    assert Settings.load(port=None).port == 2222


def test_an_embedder_s_settings_read_neither_environment_nor_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "parlour.toml").write_text("port = 1111\nnonsense = true\n")
    monkeypatch.setenv("PARLOUR_PORT", "2222")
    assert Settings().port == 8000
    assert Settings().data is None


def test_the_file_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parlour.toml").write_text("port = 1111\n")
    (tmp_path / "other.toml").write_text('port = 2222\norigin = ["https://a.example"]\nrate = "off"\nbooths = false\n')
    monkeypatch.setenv("PARLOUR_CONFIG", str(tmp_path / "other.toml"))
    loaded = Settings.load()
    assert (loaded.port, loaded.origin, loaded.rate, loaded.booths) == (2222, ("https://a.example",), math.inf, False)


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLOUR_URL", "")
    monkeypatch.setenv("PARLOUR_CONFIG", "")
    assert Settings.load().url is None


def test_data_falls_to_the_platform_s_folder_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PARLOUR_DATA")
    for variable in ("HOME", "USERPROFILE", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    data = Settings.load().data
    assert data is not None
    assert data.name == "parlour"
    assert not data.exists()
    assert Settings.load(data="~/kept").data == tmp_path / "kept"


def test_importing_reads_no_file_and_loads_no_source() -> None:
    """`import parlour.settings` must be quick and silent; the environment's reader comes with `load`."""
    code = "import sys, parlour.settings; print({'pydantic_settings', 'platformdirs'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 9000


def test_every_setting_is_described() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, f"{name} has no description: give its Field one"
        assert field.description.endswith("."), name


def test_the_three_spellings() -> None:
    assert flag_name("trusted_hops") == "--trusted-hops"
    assert variable_name("trusted_hops") == "PARLOUR_TRUSTED_HOPS"


def test_another_process_can_be_given_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `spelled` says, put into the environment, loads as the same settings: the reloader starts children so."""
    chosen = Settings.load(
        url="https://a.example/b",
        booths="off",
        origin="https://b.example,http://c",
        welcome="Be kind, all",
        reserved_names=["admin", "Админ"],
        rate="off",
        per_address=7,
        ping=0.25,
        terms="1",
        age_bands="16-17:16,adult:18",
        keep_messages_days="off",
        jwt_jwks="keys.json",
        jwt_algorithms="RS256,EdDSA",
        database="postgresql://ann:secret@db/chat",
    )
    for name in Settings.model_fields:
        monkeypatch.setenv(variable_name(name), chosen.spelled(name))
    assert Settings.load() == chosen


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"jwt_secret_file": "a", "jwt_jwks": "b"}, "jwt_jwks: keys come from one place"),
        ({"jwt_issuer": "a"}, "jwt_issuer: there is no key"),
        ({"age_bands": "adult:18"}, "age_bands: needs terms"),
        ({"terms_url": "https://a.example"}, "terms_url: needs terms"),
        ({"jwt_secret_file": "a", "jwt_algorithms": "RS256"}, "jwt_algorithms: HS256 goes with"),
        ({"jwt_jwks": "a", "jwt_algorithms": "HS256"}, "jwt_algorithms: HS256 goes with"),
        ({"terms": "1", "age_bands": "a:18,b:18"}, "two bands begin at the same age"),
        ({"jwt_jwks": "a", "jwt_algorithms": "none"}, "give some of HS256"),
    ],
)
def test_what_does_not_fit_together_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Settings.model_validate(given)


@pytest.mark.parametrize("wrong", ["mysql://ann:hunter2@db/chat", "redis://:hunter2@db"])
def test_a_wrong_database_is_not_shown(wrong: str) -> None:
    """There may be a password in it."""
    with pytest.raises(SettingsError) as refused:
        Settings.model_validate({"database": wrong})
    assert "hunter2" not in str(refused.value)


# What is said about a wrong one


def test_the_error_names_flag_variable_or_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parlour.toml").write_text('title = ""\n')
    monkeypatch.setenv("PARLOUR_PING", "soon")
    assert load_fails(trusted_hops=11).splitlines() == [
        "title in parlour.toml: '' is not allowed; give one line of 1 to 80 characters",
        "--trusted-hops: 11 is not allowed; give a whole number from 0 to 10",
        "PARLOUR_PING in the environment: 'soon' is not allowed; give seconds: a number above 0, at most 86400 (a day)",
    ]


def test_in_code_the_error_names_the_argument() -> None:
    assert fails(port="8a") == "port: '8a' is not allowed; give a whole number from 0 to 65535"
    with pytest.raises(ParlourError):
        Settings(port=-1)


def test_an_unknown_name_is_an_error_with_the_nearest_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parlour.toml").write_text("trusted-hops = 1\n")
    monkeypatch.setenv("PARLOUR_PROT", "9000")
    assert load_fails(boths=True).splitlines() == [
        "trusted-hops in parlour.toml: there is no such setting; did you mean trusted_hops?",
        "PARLOUR_PROT in the environment: there is no such setting; did you mean PARLOUR_PORT?",
        "--boths: there is no such setting; did you mean --booths?",
    ]


def test_an_unknown_name_near_nothing_lists_them_all() -> None:
    words = fails(zzzzzz=1)
    assert all(name in words for name in Settings.model_fields)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"port = ", "not TOML: Invalid value (at end of document)"), (b"title = '\xff'", "not UTF-8")],
)
def test_a_file_that_can_t_be_read(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "parlour.toml").write_bytes(content)
    assert load_fails().startswith(f"parlour.toml: {words}; ")


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("gone.toml", "PARLOUR_CONFIG: there is no file gone.toml; "),
        ("~nobody-of-this-name/x", "PARLOUR_CONFIG: there is no home"),
    ],
)
def test_a_named_file_must_exist(named: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLOUR_CONFIG", named)
    assert load_fails().startswith(words)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parlour.toml").write_text("port = 1\n")

    def denied(file: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tomllib.load", denied)  # root may read everything
    assert load_fails().startswith("parlour.toml: cannot be read: Permission denied; ")


def test_a_long_value_is_cut_in_the_error() -> None:
    assert len(fails(port="9" * 5000)) < 200


# What each takes


@pytest.mark.parametrize("words", ["on", "true", "1", "yes", "ON"])
def test_switches_take_on(words: str) -> None:
    assert Settings.load(booths=words, notices=words).notices


@pytest.mark.parametrize("words", ["off", "false", "0", "no"])
def test_switches_take_off(words: str) -> None:
    assert not Settings.load(booths=words).booths


def test_no_limit_is_spelled_off() -> None:
    loaded = Settings.load(rate="off", per_address="Off")
    assert (loaded.rate, loaded.per_address) == (math.inf, math.inf)
    assert Settings(rate=2.5, per_address=7).rate == 2.5
    assert (Settings().rate, Settings().per_address) == (None, None)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::", "::"),
        ("[::1]", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("localhost", "localhost"),
        (" chat.lan ", "chat.lan"),
    ],
)
def test_hosts(given: str, kept: str) -> None:
    assert Settings(host=given).host == kept


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://chat.example.com", "https://chat.example.com"),
        ("HTTPS://Chat.Example.com:443/", "https://chat.example.com"),
        ("https://chat.example.com/some/path/", "https://chat.example.com/some/path"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:443", "http://localhost:443"),
    ],
)
def test_urls_are_normalised(given: str, kept: str) -> None:
    assert Settings(url=given).url == kept
    assert Settings(url=kept).url == kept


def test_origins_come_as_list_or_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = ("https://a.example", "http://b.example:8080", "capacitor://localhost")
    given = ["https://A.example:443/", "http://b.example:8080, capacitor://localhost,", "https://a.example"]
    assert Settings.load(origin=given).origin == kept
    monkeypatch.setenv("PARLOUR_ORIGIN", ", ".join(given))
    assert Settings.load().origin == kept
    assert Settings.load(origin=()).origin == kept, "a flag that may be repeated and was not given is an empty tuple"
    assert Settings(origin=kept).origin == kept


def test_reserved_names_come_as_list_or_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """As origins do; a name may hold blanks, and is kept as it was given."""
    kept = ("Admin", "The Staff", "x" * 64)
    given = ["Admin,  The Staff ,", "x" * 64 + ",Admin"]
    assert Settings.load(reserved_names=given).reserved_names == kept
    monkeypatch.setenv("PARLOUR_RESERVED_NAMES", ", ".join(given))
    assert Settings.load().reserved_names == kept
    assert Settings.load(reserved_names=[]).reserved_names == kept
    assert Settings(reserved_names=kept).reserved_names == kept
    assert Settings().reserved_names == ()


def test_the_welcome_is_one_line() -> None:
    """Without the spaces around it; there is none unless one is set."""
    assert Settings().welcome is None
    assert Settings(welcome=" Be kind: all of you. ").welcome == "Be kind: all of you."
    assert Settings(welcome="x" * 500).welcome == "x" * 500


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("host", "", "an address or name"),
        ("host", "127.0.0.1:8000", "an address or name"),
        ("host", "http://0.0.0.0", "an address or name"),
        ("port", 65536, "0 to 65535"),
        ("port", True, "0 to 65535"),
        ("url", "chat.example.com", "http(s)"),
        ("url", "ws://chat.example.com", "http(s)"),
        ("url", "https://*.example.com", "http(s)"),
        ("url", "https://chat.example.com?x=1", "leave out everything from the ?"),
        ("url", "https://chat.example.com#", "leave out everything from the ?"),
        ("url", "https://user:pass@chat.example.com", "leave out everything before the @"),
        ("data", "", "path of a folder"),
        ("data", "~nobody-of-this-name/x", "give the whole path"),
        ("title", "   ", "1 to 80"),
        ("title", "x" * 81, "1 to 80"),
        ("title", "two\nlines", "one line"),
        ("title", "\ud800", "one line"),
        ("welcome", "", "1 to 500"),
        ("welcome", "x" * 501, "1 to 500"),
        ("welcome", "two\nlines", "one line"),
        ("reserved_names", "", "1 to 64"),
        ("reserved_names", ["admin", " "], "1 to 64"),
        ("reserved_names", ",", "1 to 64"),
        ("reserved_names", "admin,\u200b", "1 to 64"),
        ("reserved_names", "x" * 65, "1 to 64"),
        ("reserved_names", ["admin", 3], "1 to 64"),
        ("booths", "maybe", "on or off"),
        ("origin", "*", "name each page's origin"),
        ("origin", "https://a.example, NULL", "serve the page over http(s)"),
        ("origin", "https://a.example/page", "give https://a.example"),
        ("origin", "a.example", "origins of web pages"),
        ("origin", ["https://a.example", 3], "origins of web pages"),
        ("origin", "file:///home", "origins of web pages"),
        ("trusted_hops", -1, "0 to 10"),
        ("rate", 0, "above 0, or off"),
        ("rate", "nan", "above 0, or off"),
        ("rate", False, "above 0, or off"),
        ("burst", 0, "at least 1"),
        ("per_address", 0, "at least 1, or off"),
        ("per_address", 1.5, "at least 1, or off"),
        ("ping", 0, "above 0"),
        ("ping", math.inf, "at most 86400"),
        ("ping_timeout", "nan", "above 0"),
        ("transport", "uvicorn", "auto or asgi"),
        ("log_format", "xml", "auto, text or json"),
        ("notices", None, "on or off"),
    ],
)
def test_refused(name: str, value: object, words: str) -> None:
    text = fails(**{name: value})
    assert text.startswith(f"{name}: ")
    assert words in text
    assert "\n" not in text


@given(st.sampled_from(sorted(Settings.model_fields)), st.one_of(st.text(), st.floats(), st.integers(), st.none()))
def test_whatever_is_given_is_taken_or_refused_in_words(name: str, value: object) -> None:
    """No value makes any other exception, and what was taken is taken again: normalising is stable."""
    words = taken = None
    try:
        taken = Settings.model_validate({name: value})
    except SettingsError as error:
        words = str(error)
    if taken is None:
        assert words is not None
        assert words.startswith(f"{name}: ")
    else:
        assert Settings.model_validate(taken.model_dump()) == taken


@given(st.from_regex(r"(?i)https?://[a-z0-9.*\[\]:@-]{1,20}(/[a-z./%]{0,10})?", fullmatch=True))
def test_a_url_that_is_taken_is_stable(value: str) -> None:
    try:
        url = Settings(url=value).url
    except SettingsError:
        return
    assert Settings(url=url).url == url
    assert url is not None
    assert not url.endswith("/")

"""Everything that can be set, in one frozen object.

- `Settings(...)` is for code that embeds Parlour: what it is given, else the defaults. It reads neither environment nor
  file.
- `Settings.load(...)` is for `parlour serve` and `server:app`: flags, else the environment, else parlour.toml, else the
  defaults.

A setting has one name and three spellings: `trusted_hops` (in code and in the file), `--trusted-hops`,
`PARLOUR_TRUSTED_HOPS`. Both ways raise `parlour.errors.SettingsError`, and nothing else, when a setting is wrong.
"""

import difflib
import ipaddress
import math
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError, Url

from parlour.errors import SettingsError

DEFAULT_RATE: Final = 10.0
"""Messages a second and client, where `rate` is None and the client is not a loopback peer."""

DEFAULT_BURST: Final = 30
"""Messages that a client may say at once before its rate counts."""

DEFAULT_IN_BOOTHS: Final = 10
"""Connections to booths from one address where the operator set no limit: one who sits alone in many booths is the
stranger whom everybody meets."""

DEFAULT_PER_ADDRESS: Final = 100
"""Open connections from one address, where `per_address` is None and the client is not a loopback peer."""

CONFIG_VARIABLE: Final = "PARLOUR_CONFIG"
"""Names the file to read in place of parlour.toml in the current folder."""

_DAY = 86_400.0
_PREFIX = "PARLOUR_"


def flag_name(setting: str) -> str:
    """How `setting` is spelled on the command line: `--trusted-hops`."""
    return "--" + setting.replace("_", "-")


def variable_name(setting: str) -> str:
    """How `setting` is spelled in the environment: `PARLOUR_TRUSTED_HOPS`."""
    return _PREFIX + setting.upper()


def _wrong(words: str) -> PydanticCustomError:
    return PydanticCustomError("setting", "{words}", {"words": words})


def _takes(words: str) -> WrapValidator:
    """Says in our words what a setting takes, unless a validator of ours already said it better."""

    def checked(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            return handler(value)
        except ValidationError as error:
            if any(problem["type"] == "setting" for problem in error.errors()):
                raise
            shown = repr(value)
            shown = shown if len(shown) <= 80 else shown[:77] + "..."
            raise _wrong(f"{shown} is not allowed; give {words}") from None

    return WrapValidator(checked)


# A bare ValueError below means "not that": `_takes` has the words.


def _number(value: object) -> object:
    if isinstance(value, bool):  # pydantic reads true as 1
        raise ValueError
    return value


def _limit(value: object) -> object:
    if isinstance(value, str) and value.strip().lower() == "off":
        return math.inf
    return _number(value)


def _whole_limit(value: float) -> float:
    if value != math.inf and not value.is_integer():
        raise ValueError
    return value


def _host(value: str) -> str:
    bare = value.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        if not re.fullmatch(r"[\w.-]+", value):
            raise ValueError from None
        return value
    return bare


def _one_line(value: str) -> str:
    if any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in value):
        raise ValueError
    return value


def _folder(value: object) -> object:
    if value == "":
        raise ValueError
    return value


def _expanded(value: Path) -> Path:
    try:
        return value.expanduser()
    except RuntimeError:
        raise _wrong(f"there is no home folder for {value}; give the whole path") from None


def _parsed_url(value: str) -> Url:
    """As browsers read it (WHATWG URL): lower case, names in punycode. A wildcard is not a host."""
    url = Url(value)
    if not url.host or "*" in url.host:
        raise ValueError
    if url.username or url.password:
        raise _wrong("it holds a user name or password; leave out everything before the @")
    return url


def _spelled_origin(url: Url) -> str:
    """As browsers send it in the Origin header (RFC 6454 6.2): the port only where it is not the scheme's own."""
    default = {"http": 80, "https": 443}.get(url.scheme)
    port = "" if url.port in {None, default} else f":{url.port}"
    return f"{url.scheme}://{url.host}{port}".lower()


def _public_url(value: str) -> str:
    url = _parsed_url(value)
    if url.scheme not in {"http", "https"}:
        raise ValueError
    if url.query is not None or url.fragment is not None:
        raise _wrong("it holds a query or fragment; leave out everything from the ? or # on")
    return _spelled_origin(url) + (url.path or "").rstrip("/")


def _origin(value: str) -> str:
    if value == "*":
        raise _wrong("* would let every web page connect as its visitor; name each page's origin instead")
    if value.lower() == "null":
        raise _wrong("null is sent by anyone's files and sandboxed frames; serve the page over http(s) and name it")
    url = _parsed_url(value)
    if url.path not in {None, "", "/"} or url.query is not None or url.fragment is not None:
        raise _wrong(f"{value} has more than an origin; give {_spelled_origin(url)}")
    return _spelled_origin(url)


def _parts(item: object) -> list[object]:
    return [part.strip() for part in item.split(",") if part.strip()] if isinstance(item, str) else [item]


def _split(value: object) -> object:
    """A flag comes as a list, the environment as one text; both may hold commas."""
    items = [value] if isinstance(value, str) else value
    return [part for item in items for part in _parts(item)] if isinstance(items, list | tuple) else items


def _split_names(value: object) -> object:
    """As `_split`, but an item without a name is a mistake: somebody meant to reserve one."""
    items = [value] if isinstance(value, str) else value
    return [part for item in items for part in _parts(item) or [""]] if isinstance(items, list | tuple) else items


def _visible_name(value: str) -> str:
    if not any(unicodedata.category(character)[0] in "LNPS" for character in value):
        raise ValueError
    return value


def _without_repeats(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


_Host = Annotated[
    str, AfterValidator(_host), _takes("an address or name of this machine, such as 127.0.0.1, 0.0.0.0 or ::")
]
_Port = Annotated[int, BeforeValidator(_number), Field(ge=0, le=65535), _takes("a whole number from 0 to 65535")]
_PublicUrl = Annotated[
    str, AfterValidator(_public_url), _takes("an http(s) address, such as https://chat.example.com or with /path")
]
_Folder = Annotated[Path, BeforeValidator(_folder), AfterValidator(_expanded), _takes("the path of a folder")]
_File = Annotated[Path, BeforeValidator(_folder), AfterValidator(_expanded), _takes("the path of a file")]
_Title = Annotated[
    str, Field(min_length=1, max_length=80), AfterValidator(_one_line), _takes("one line of 1 to 80 characters")
]
_Line = Annotated[
    str, Field(min_length=1, max_length=500), AfterValidator(_one_line), _takes("one line of 1 to 500 characters")
]
_Names = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_visible_name)], ...],
    BeforeValidator(_split_names),
    AfterValidator(_without_repeats),
    _takes("names of 1 to 64 characters, with commas between them"),
]


def _database(value: object) -> object:
    """Its words never show the value: there may be a password in it."""
    if isinstance(value, str) and "://" in value:
        scheme = value.partition("://")[0]
        if scheme.partition("+")[0] not in {"sqlite", "postgresql"}:
            raise _wrong("give postgresql://user@host/name, or the path of a SQLite file")
        return value
    if not isinstance(value, str | Path) or not str(value).strip():
        raise _wrong("give postgresql://user@host/name, or the path of a SQLite file")
    return str(_expanded(Path(value)))


def _notified(value: str) -> str:
    if _parsed_url(value).scheme not in {"http", "https"}:
        raise ValueError
    return value


def _bands(value: object) -> object:
    """`16-17:16,adult:18`: names of bands, each with its lowest age."""
    if isinstance(value, dict):
        return value
    items = _split(value)
    pairs = [str(item).rpartition(":") for item in items] if isinstance(items, list) else []
    if not pairs or not all(name.strip() and least.strip().isdecimal() for name, _, least in pairs):
        raise ValueError
    return {name.strip(): int(least) for name, _, least in pairs}


def _distinct(value: dict[str, int]) -> dict[str, int]:
    if len(set(value.values())) < len(value):
        raise _wrong("two bands begin at the same age; give each its own")
    return value


_Database = Annotated[str, BeforeValidator(_database)]
_Notified = Annotated[str, AfterValidator(_notified), _takes("an http(s) address")]
_Version = Annotated[
    str, Field(min_length=1, max_length=64), AfterValidator(_one_line), _takes("a version of 1 to 64 characters")
]
_Bands = Annotated[
    dict[Annotated[str, Field(max_length=32)], Annotated[int, Field(ge=0, le=150)]],
    BeforeValidator(_bands),
    AfterValidator(_distinct),
    _takes("names of age bands, each with its lowest age, such as 16-17:16,adult:18"),
]
_Days = Annotated[
    float,
    BeforeValidator(_limit),
    Field(ge=1),
    AfterValidator(_whole_limit),
    _takes("days: a whole number, at least 1, or off to keep them for ever"),
]
_Text = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_one_line), _takes("one line of text")]
_Jwks = Annotated[str, Field(min_length=1, max_length=500), _takes("an https address or the path of a file")]
_Algorithms = Annotated[
    tuple[Literal["HS256", "RS256", "ES256", "EdDSA"], ...],
    BeforeValidator(_split),
    _takes("some of HS256, RS256, ES256, EdDSA, with commas between them"),
]
_Switch = Annotated[bool, _takes("on or off")]
_Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_origin)], ...],
    BeforeValidator(_split),
    AfterValidator(_without_repeats),
    _takes("origins of web pages, such as https://example.com, with commas between them"),
]
_Hops = Annotated[int, BeforeValidator(_number), Field(ge=0, le=10), _takes("a whole number from 0 to 10")]
_Rate = Annotated[
    float, BeforeValidator(_limit), Field(gt=0), _takes("messages a second: a number above 0, or off for no limit")
]
_Burst = Annotated[int, BeforeValidator(_number), Field(ge=1), _takes("a whole number of messages, at least 1")]
_Connections = Annotated[
    float,
    BeforeValidator(_limit),
    Field(ge=1),
    AfterValidator(_whole_limit),
    _takes("open connections: a whole number, at least 1, or off for no limit"),
]
_Seconds = Annotated[
    float,
    BeforeValidator(_number),
    Field(gt=0, le=_DAY, allow_inf_nan=False),
    _takes("seconds: a number above 0, at most 86400 (a day)"),
]


class Settings(BaseModel):
    """What an operator or an embedder can choose.

    `math.inf` in `rate` and `per_address` means no limit; flags, environment and file spell it `off`. Raises
    `parlour.errors.SettingsError` naming each wrong setting and its fix.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    host: _Host = Field(
        default="127.0.0.1",
        description="Address to listen on; 0.0.0.0 for every network of this machine, :: for IPv6.",
    )
    port: _Port = Field(
        default=8000,
        description="Port to listen on; 0 takes a free one.",
    )
    url: _PublicUrl | None = Field(
        default=None,
        description="Address at which people reach this server from outside, with the sub-path if it has one.",
    )
    data: _Folder | None = Field(
        default=None,
        description="Folder for what the server keeps; made on first use.",
    )
    database: _Database | None = Field(
        default=None,
        description="Where what was said is kept: postgresql://user@host/name, or the path of a SQLite file.",
    )
    title: _Title = Field(
        default="Parlour",
        description="Name of this place, shown on the page.",
    )
    welcome: _Line | None = Field(
        default=None,
        description="A line that v1 clients show when people come in.",
    )
    reserved_names: _Names = Field(
        default=(),
        description="Names that nobody may take, nor any that looks alike; commas between them.",
    )
    booths: _Switch = Field(
        default=True,
        description="Whether strangers can meet in private booths.",
    )
    origin: _Origins = Field(
        default=(),
        description="Origins of other sites' pages that may connect, beside this server's own; commas between them.",
    )
    trusted_hops: _Hops = Field(
        default=0,
        description=(
            "Proxies in front of this server; as many addresses at the right end of X-Forwarded-For are trusted."
        ),
    )
    rate: _Rate | None = Field(
        default=None,
        description=(
            f"Messages a second and client, or off. Not given: {DEFAULT_RATE:g}, "
            "but no limit for peers on this machine that come without forwarding headers."
        ),
    )
    burst: _Burst = Field(
        default=DEFAULT_BURST,
        description="Messages that a client may say at once before the rate counts.",
    )
    per_address: _Connections | None = Field(
        default=None,
        description=(
            "Open connections from one address, or off. "
            f"Not given: {DEFAULT_PER_ADDRESS}, {DEFAULT_IN_BOOTHS} in booths, "
            "but no limit for peers on this machine that come without forwarding headers."
        ),
    )
    ping: _Seconds = Field(
        default=20.0,
        description="Seconds between heartbeats to each client.",
    )
    ping_timeout: _Seconds = Field(
        default=10.0,
        description="Seconds that a client has to answer a heartbeat before it is let go.",
    )
    transport: Annotated[Literal["auto", "asgi"], _takes("auto or asgi")] = Field(
        default="auto",
        description="How bytes travel: auto takes connections over from uvicorn where it can, asgi never does.",
    )
    reload: _Switch = Field(
        default=False,
        description="Start again when the code changes; for development.",
    )
    log_format: Annotated[Literal["auto", "text", "json"], _takes("auto, text or json")] = Field(
        default="auto",
        description="How log lines look: auto is text on a terminal and json elsewhere.",
    )
    metrics: _Switch = Field(
        default=False,
        description="Whether /metrics tells how the server does: to programs on this machine, or who has the token.",
    )
    metrics_token_file: _File | None = Field(
        default=None,
        description="File with the token for /metrics: who brings it is told, wherever they are, and nobody else.",
    )
    notices: _Switch = Field(
        default=False,
        description="Whether plain clients are told who came and who left.",
    )
    keep_messages_days: _Days = Field(
        default=30.0,
        description="Days for which messages of public rooms are kept, or off for ever.",
    )
    keep_reports_days: _Days = Field(
        default=90.0,
        description="Days for which reports are kept after they were decided, or off for ever.",
    )
    keep_addresses_days: _Days = Field(
        default=14.0,
        description="Days for which a ban remembers an address, as a keyed hash, or off for as long as the ban.",
    )
    terms: _Version | None = Field(
        default=None,
        description="Version of the terms that people must accept before they meet strangers; none asks for nothing.",
    )
    terms_url: _Notified | None = Field(
        default=None,
        description="Where the terms can be read.",
    )
    age_bands: _Bands | None = Field(
        default=None,
        description="Age bands that never meet each other, each with its lowest age: 16-17:16,adult:18.",
    )
    notify: _Notified | None = Field(
        default=None,
        description="Address to which is posted that a report waits; never what it says.",
    )
    jwt_secret_file: _File | None = Field(
        default=None,
        description="File with the secret by which the tokens of your own users are signed (HS256).",
    )
    jwt_key_file: _File | None = Field(
        default=None,
        description="File with the public key (PEM) by which the tokens of your own users are checked.",
    )
    jwt_jwks: _Jwks | None = Field(
        default=None,
        description="Address, or file, of the issuer's public keys (JWKS).",
    )
    jwt_algorithms: _Algorithms = Field(
        default=(),
        description="Algorithms that tokens may be signed with. Not given: those that fit the key.",
    )
    jwt_issuer: _Text | None = Field(
        default=None,
        description="What tokens must name as their issuer (iss).",
    )
    jwt_audience: _Text | None = Field(
        default=None,
        description="What tokens must name as their audience (aud).",
    )

    @classmethod
    def load(cls, **flags: object) -> Self:
        """What was asked for: `flags`, else the environment, else parlour.toml, else the defaults.

        A flag that is None or an empty list was not given; an empty variable was not set. `data` becomes the platform's
        folder for a user's data if nothing names another; nothing is made there. Raises `parlour.errors.SettingsError`
        naming each wrong or unknown setting, where it was set, and the fix.
        """
        # Slower to import than everything else here: only who reads the environment pays for it.
        from platformdirs import user_data_path
        from pydantic_settings import BaseSettings, EnvSettingsSource

        environment = EnvSettingsSource(BaseSettings, env_prefix=_PREFIX, env_ignore_empty=True).env_vars
        prefix = _PREFIX.lower()  # the source gives every name in lower case
        variables = {name.removeprefix(prefix): value for name, value in environment.items() if name.startswith(prefix)}
        named = variables.pop(CONFIG_VARIABLE.lower().removeprefix(prefix), None)
        file = Path(named or "parlour.toml")
        given = {name: value for name, value in flags.items() if value not in (None, (), [])}
        values: dict[str, object] = {"data": user_data_path("parlour", appauthor=False)}
        origins: dict[str, _Source] = {}
        for source, found in (
            (_Source("file", file), _file_values(file, must_exist=named is not None)),
            (_Source("environment"), variables),
            (_Source("flag"), given),
        ):
            values.update(found)
            origins.update(dict.fromkeys(found, source))
        return cls.model_validate(values, context=origins)

    def spelled(self, setting: str) -> str:
        """The value of a setting as the environment spells it, so that another process can be given the same."""
        value = getattr(self, setting)
        if isinstance(value, bool):
            return "on" if value else "off"
        if isinstance(value, dict):
            return ",".join(f"{name}:{least}" for name, least in value.items())
        if isinstance(value, tuple):
            return ",".join(value)
        if value == math.inf:
            return "off"
        return "" if value is None else str(value)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        keys = [name for name in ("jwt_secret_file", "jwt_key_file", "jwt_jwks") if getattr(self, name) is not None]
        if len(keys) > 1:
            raise _wrong(f"{keys[1]}: keys come from one place, and {keys[0]} is given, too; leave one of them out")
        stray = [name for name in ("jwt_algorithms", "jwt_issuer", "jwt_audience") if getattr(self, name)]
        if stray and not keys:
            raise _wrong(f"{stray[0]}: there is no key to check tokens with; give jwt_jwks or another one")
        if self.terms is None and (self.age_bands is not None or self.terms_url is not None):
            raise _wrong(f"{'age_bands' if self.age_bands else 'terms_url'}: needs terms; give their version")
        if set(self.jwt_algorithms) - ({"HS256"} if self.jwt_secret_file else {"RS256", "ES256", "EdDSA"}):
            raise _wrong("jwt_algorithms: HS256 goes with jwt_secret_file, the others with public keys")
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _explained(cls, values: object, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        try:
            return handler(values)
        except ValidationError as error:
            sources: Mapping[str, _Source] = info.context or {}
            problems = [_problem_words(problem, sources) for problem in error.errors(include_url=False)]
            raise SettingsError("\n".join(dict.fromkeys(problems))) from None


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a value was set."""

    kind: Literal["flag", "environment", "file", "code"]
    file: Path | None = None

    def spelled(self, setting: str) -> str:
        if self.kind == "flag":
            return flag_name(setting)
        return variable_name(setting) if self.kind == "environment" else setting

    def place(self, setting: str) -> str:
        suffix = {"environment": " in the environment", "file": f" in {self.file}"}.get(self.kind, "")
        return self.spelled(setting) + suffix


def _file_values(file: Path, *, must_exist: bool) -> dict[str, object]:
    from pydantic_settings import BaseSettings, TomlConfigSettingsSource

    try:
        if must_exist and not file.expanduser().is_file():
            raise SettingsError(f"{CONFIG_VARIABLE}: there is no file {file}; correct the path or unset the variable")
        return TomlConfigSettingsSource(BaseSettings, toml_file=file).toml_data
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file}: not TOML: {error}; correct that place") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: not UTF-8; save it as UTF-8") from None
    except RuntimeError:
        raise SettingsError(f"{CONFIG_VARIABLE}: there is no home folder for {file}; give the whole path") from None
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}; correct its permissions or remove it") from None


def _problem_words(problem: ErrorDetails, sources: Mapping[str, _Source]) -> str:
    if not problem["loc"]:  # of several that don't fit together the first one is named
        name, _, words = problem["msg"].partition(": ")
        return f"{sources.get(name, _Source('code')).place(name)}: {words}"
    setting = str(problem["loc"][0])
    source = sources.get(setting, _Source("code"))
    known = Settings.model_fields
    if setting in known:
        return f"{source.place(setting)}: {problem['msg']}"
    near = difflib.get_close_matches(setting.lower(), known, n=1)
    there_are = ", ".join(source.spelled(name) for name in known)
    advice = f"did you mean {source.spelled(near[0])}?" if near else f"there are {there_are}"
    return f"{source.place(setting)}: there is no such setting; {advice}"

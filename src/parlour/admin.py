"""`parlour admin`: what operators do from a shell.

Some commands work on the files themselves, whether a server runs or not: the one-time link, backup, export and import,
migrate, the doctor, and the proofs of the audit log and of reports. All others ask the running server, by the same HTTP
API as everybody, so that what they do takes effect at once and stands in the audit log. Who can read the data folder is
the operator: its secret signs the ticket.

What a command needs is imported when it runs, so that `parlour --help` is there at once.
"""

import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from datetime import datetime
from functools import cached_property
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Concatenate, Final, ParamSpec, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import typer
from typer.core import TyperGroup

from parlour.errors import ConnectError, ParlourError, SettingsError

if TYPE_CHECKING:
    from parlour.core.evidence import Evidence
    from parlour.core.keys import Keyring
    from parlour.core.records import Report
    from parlour.settings import Settings
    from parlour.store import Store

SERVER_FILE: Final = "server.json"
"""In the data folder while a server runs on it: `{"url", "pid"}`."""

TICKET_SECONDS: Final = 60
"""How long a ticket that is signed here is good."""

_ANSWER_SECONDS: Final = 30.0
_PROGRESS_SECONDS: Final = 1.0

_T = TypeVar("_T")
_P = ParamSpec("_P")


class NotAllowed(ParlourError):  # noqa: N818 - named for what happened, as Refused
    """The server does not take who asks for an operator who may do that."""


class _Listing(TyperGroup):
    """A group whose own name shows what there is: `audit` lists, `audit verify` is a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["show", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(help="Look after the place: reports, bans, rooms, words, operators, backups.", no_args_is_help=True)
_reports = typer.Typer(cls=_Listing)
_audit = typer.Typer(cls=_Listing)
_room = typer.Typer(no_args_is_help=True)
_operator = typer.Typer(no_args_is_help=True)
_token = typer.Typer(no_args_is_help=True)

Data = Annotated[
    str | None,
    typer.Option("--data", metavar="DIR", help="The server's data folder. [default: as `parlour serve` finds it]"),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option("--database", metavar="URL", help="The server's database. [default: as `parlour serve` finds it]"),
]
ServerUrl = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="The running server. [default: the one that runs on the data folder]"),
]
TokenFile = Annotated[
    str | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="File with an API token, - for stdin. [default: the secret of the data folder]",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One line of JSON for each.")]
For = Annotated[str, typer.Option("--for", metavar="TIME", help="How long: 30m, 2h, 7d, forever.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; the person is told.")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1000, help="At most so many.")]


# On the files


@app.command(help="Print a link that makes the first admin, once. It voids the link that was printed before.")
def link(data: Data = None, database: DatabaseUrl = None) -> None:
    from parlour.operators import Operators

    settings = _settings(data, database)
    keyring = _keyring(settings, may_make=True)

    async def made(store: "Store") -> str:
        return await Operators(store, keyring, utc_ms=_utc_ms).first_link()

    ticket = _run(_with_store(settings, made, may_make=True))
    print(f"{_page_url(settings)}/admin#first={ticket}")


@app.command(help="Write a copy of the SQLite database into a new file, also while the server runs.")
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE")], data: Data = None, database: DatabaseUrl = None
) -> None:
    settings = _settings(data, database)
    _run(_store(settings).backup(file))
    print(f"{file}: written. Keep {_folder(settings) / 'keys.json'} with it", file=sys.stderr)


@app.command(help="Write all that is stored as lines of JSON, into a new file or to stdout.")
def export(
    file: Annotated[str, typer.Argument(metavar="[FILE]", show_default=False)] = "-",
    data: Data = None,
    database: DatabaseUrl = None,
) -> None:
    settings = _settings(data, database)

    async def exported(store: "Store") -> None:
        with _new_file(file) as out, _progress("lines") as count:
            async with aclosing(store.export()) as lines:
                async for line in lines:
                    out.write(line + "\n")
                    count()

    _run(_with_store(settings, exported))


@app.command(
    name="import", help="Read what `export` wrote, from a file or - for stdin, into a store with nothing in it."
)
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE")], data: Data = None, database: DatabaseUrl = None
) -> None:
    settings = _settings(data, database)

    async def imported(store: "Store") -> int:
        with _opened(file) as source, _progress("lines") as count:
            return await store.import_(_counted(source, file, count))

    with _alone(settings):
        rows = _run(_with_store(settings, imported, may_make=True))
    print(f"{rows} rows are stored", file=sys.stderr)


@app.command(help="Bring the database to this version. SQLite needs no such word: the server does it when it starts.")
def migrate(data: Data = None, database: DatabaseUrl = None) -> None:
    from parlour.app import new_store

    settings = _settings(data, database)
    with _alone(settings):
        _run(new_store(settings).migrate())
    print("the database is of this version", file=sys.stderr)


@app.command(help="Look for what is wrong with this server, and say how to mend it.")
def doctor(data: Data = None, database: DatabaseUrl = None, as_json: Json = False) -> int:
    from parlour.app import new_store
    from parlour.doctor import examined

    settings = _settings(data, database)
    has_failed = False

    async def look() -> None:
        nonlocal has_failed
        folder, address = _folder(settings), _address(settings)
        async for check in examined(settings, folder, address, new_store, running=_running(folder), utc_ms=_utc_ms):
            has_failed = has_failed or check.state == "FAIL"
            if as_json:
                print(json.dumps(check._asdict()), flush=True)
            else:
                print(f"{check.state:<5} {check.name:<12} {check.words}", flush=True)

    _run(look())
    return 1 if has_failed else 0


@_audit.command(name="verify", help="See that the audit log is as it was written.")
def verify_audit(data: Data = None, database: DatabaseUrl = None) -> int:
    async def checked(store: "Store") -> tuple[int | None, Sequence[Any]]:
        return await store.broken_audit(), await store.audited(limit=1)

    broken, last = _run(_with_store(_settings(data, database), checked))
    if broken is not None:
        print(f"entry {broken} is not as it was written, or is missing; those before it are whole")
        return 1
    print(f"{last[0].n} entries, all as they were written; the last is {last[0].hash}" if last else "no entries")
    return 0


@_reports.command(name="verify", help="See that reports are as they were written, and what each of them proves.")
def verify_reports(
    ref: Annotated[str | None, typer.Argument(metavar="[REF]", show_default=False)] = None,
    data: Data = None,
    database: DatabaseUrl = None,
    as_json: Json = False,
) -> int:
    from parlour.core.records import Report

    settings = _settings(data, database)
    keyring = _keyring(settings)

    async def found(store: "Store") -> Sequence[Report]:
        if ref is None:
            return await store.select(Report, limit=1_000_000)
        report = await store.get(Report, ref)
        if report is None:
            raise ParlourError(f"there is no report {ref}")
        return [report]

    are_whole = True
    for report in _run(_with_store(settings, found)):
        evidence = _evidence(keyring, report)
        is_whole = evidence is not None and _agree(report, evidence)
        are_whole = are_whole and is_whole
        if as_json:
            print(json.dumps(_verified(report.ref, is_whole, evidence)))
            continue
        print(f"{report.ref}  {_proved(evidence) if evidence is not None and is_whole else _CHANGED}")
        if ref is not None and evidence is not None:
            finding = evidence.finding
            for proof in finding.proofs:
                _, _, ts, _, text, _ = proof.message
                _show_proof(proof.word, proof.by, ts, text)
    return 0 if are_whole else 1


_CHANGED: Final = "CHANGED: the record is not as this server wrote it, or its secret is gone from keys.json"


def _evidence(keyring: "Keyring", report: "Report") -> "Evidence | None":
    """What the record holds; None if it is not as this server wrote it."""
    from parlour.core.evidence import open_sealed

    try:
        return open_sealed(keyring, report.evidence)
    except TypeError:  # SQLite lets who changes it put a text there
        return None


def _agree(report: "Report", evidence: "Evidence") -> bool:
    """Whether the columns of the record, which are not sealed, say what the seal holds."""
    finding = evidence.finding
    return (report.room, report.reporter, report.accused, report.reason, report.note) == (
        finding.booth,
        finding.reporter,
        finding.accused,
        evidence.reason,
        evidence.note,
    )


def _proved(evidence: "Evidence") -> str:
    finding = evidence.finding
    words = [proof.word for proof in finding.proofs]
    counts = [f"{words.count(word)} {word}" for word in ("relayed", "forged", "withheld", "held") if word in words]
    more = [name for name, holds in (("whole", finding.is_whole), ("from the start", finding.from_start)) if holds]
    return "as written; " + ", ".join([*counts, *more])


def _verified(ref: str, is_whole: bool, evidence: "Evidence | None") -> dict[str, object]:
    finding = None if evidence is None else evidence.finding
    return {
        "ref": ref,
        "as_written": is_whole,
        "whole": finding is not None and finding.is_whole,
        "from_start": finding is not None and finding.from_start,
        "proofs": [] if finding is None else [{"word": proof.word, "by": proof.by} for proof in finding.proofs],
    }


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    import asyncio

    return asyncio.run(work)


# What the files are


def _settings(data: str | None, database: str | None) -> "Settings":
    from parlour.settings import Settings

    return Settings.load(data=data, database=database)


def _folder(settings: "Settings") -> Path:
    if settings.data is None:
        raise SettingsError("--data: name the server's data folder")
    return settings.data


def _address(settings: "Settings") -> str | Path:
    """The database, a file as its path."""
    if settings.database is None:
        return _folder(settings) / "parlour.db"
    return settings.database if "://" in settings.database else Path(settings.database)


def _store(settings: "Settings", *, may_make: bool = False) -> "Store":
    """The store, not open yet. A SQLite file that is not there is made by who asks for it alone: a typing error in
    `--data` should not look like an empty server."""
    address = _address(settings)
    if isinstance(address, Path) and not may_make and not address.exists():
        raise SettingsError(f"--data: there is no {address}; name the server's data folder, or start the server once")
    from parlour.app import new_store

    return new_store(settings)


async def _with_store(settings: "Settings", work: "Callable[[Store], Awaitable[_T]]", *, may_make: bool = False) -> _T:
    """What `work` gives for the open store."""
    store = _store(settings, may_make=may_make)
    await store.open()
    try:
        return await work(store)
    finally:
        await store.close()


def _keyring(settings: "Settings", *, may_make: bool = False) -> "Keyring":
    from parlour.keyfile import FILE, loaded_keyring

    file = _folder(settings) / FILE
    if not may_make:
        try:
            file.read_bytes()
        except OSError as error:
            words = "name the server's data folder, and be who may read it"
            raise NotAllowed(f"{file} can't be read ({error.strerror}): {words}") from None
    return loaded_keyring(_folder(settings))


@contextmanager
def _alone(settings: "Settings") -> Iterator[None]:
    """Holds what a server that runs on the data folder holds. Raises `ParlourError` if one does."""
    from filelock import FileLock, Timeout

    folder = _folder(settings)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(folder / "lock", blocking=False):
            yield
    except Timeout:
        raise ParlourError(f"a server runs on {folder}: stop it first") from None
    except PermissionError as error:
        raise ParlourError(f"{error.filename}: {error.strerror}") from None


def _page_url(settings: "Settings") -> str:
    """Where people reach the server: as it was told, else where it runs, else where it will."""
    if settings.url is not None:
        return settings.url
    running = _running(_folder(settings))
    if running is not None:
        return running
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - not a bind
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _running(folder: Path) -> str | None:
    """The address of the server that runs on this folder, None if none says so."""
    try:
        url = json.loads((folder / SERVER_FILE).read_bytes())["url"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return url if isinstance(url, str) else None


@contextmanager
def _new_file(name: str) -> Iterator[IO[str]]:
    """A file of the owner's alone, which goes again if it is not written to its end; `-` is stdout."""
    if name == "-":
        yield sys.stdout
        return
    path = Path(name)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ParlourError(f"{path}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink()
        raise


@contextmanager
def _opened(name: str) -> Iterator[IO[str]]:
    """A file to be read; `-` is stdin."""
    if name == "-":
        yield sys.stdin
        return
    try:
        with Path(name).open(encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise ParlourError(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ParlourError(f"{name}: not UTF-8") from None


async def _counted(source: Iterable[str], name: str, count: Callable[[], None]) -> AsyncIterator[str]:
    try:
        for line in source:
            count()
            yield line
    except UnicodeDecodeError:
        raise ParlourError(f"{name}: not UTF-8") from None


@contextmanager
def _progress(words: str) -> Iterator[Callable[[], None]]:
    """Counts on stderr, where that is a terminal and it takes its time."""
    done, shown_at = 0, time.monotonic()
    is_shown, is_terminal = False, sys.stderr.isatty()

    def count() -> None:
        nonlocal done, shown_at, is_shown
        done += 1
        if is_terminal and time.monotonic() - shown_at >= _PROGRESS_SECONDS:
            shown_at, is_shown = time.monotonic(), True
            print(f"\r{done} {words}", end="", file=sys.stderr, flush=True)

    try:
        yield count
    finally:
        if is_shown:
            print(f"\r{done} {words}", file=sys.stderr)


# Through the running server


class Api:
    """The HTTP API of a running server: that of the data folder, or at `url`; asked with the token of a file, or with a
    ticket that the folder's secret signs."""

    def __init__(self, data: str | None, url: str | None, token_file: str | None) -> None:
        self._data = data
        self._url = url
        self._token_file = token_file

    def ask(self, method: str, *path: str, body: Mapping[str, object] | None = None, **query: object) -> Any:
        """What the server answers, as it is in JSON. What is None in `body` or `query` is left out.

        Raises `ConnectError` where there is no server, `NotAllowed`, and `ParlourError` with the server's own words.
        """
        given = {name: value for name, value in query.items() if value is not None}
        target = "/".join(quote(part, safe="") for part in path) + (f"?{urlencode(given)}" if given else "")
        data = None
        if body is not None:
            data = json.dumps({name: value for name, value in body.items() if value is not None}).encode()
        server, bearer = self._found
        status, answer = server.send(method, f"/admin/api/{target}", data, bearer)
        if status < 300:
            return answer
        fields = answer.get("error") if isinstance(answer, dict) else None
        if not isinstance(fields, dict):
            raise ConnectError(server.url, f"it answers {status}, and not as the HTTP API of Parlour does")
        words = _line(str(fields.get("message") or fields.get("code")))
        raise NotAllowed(words) if status in {401, 403} else ParlourError(words)

    @cached_property
    def _found(self) -> "tuple[_Server, str]":
        settings = _settings(self._data, None)
        url = self._url or _running(_folder(settings))
        if url is None:
            words = "start `parlour serve`, or name its folder with --data or its address with --url"
            raise ConnectError("the server", f"none runs on the data folder {settings.data}; {words}")
        server = _Server(url)
        if self._token_file is not None:
            return server, _secret(self._token_file, "--token-file")
        from parlour.core.tickets import sign

        return server, sign(_keyring(settings), "cli", "cli", _utc_ms() + 1000 * TICKET_SECONDS)


class _Server:
    """Where to ask. It follows no redirect and asks no proxy: the ticket is for this address alone."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        try:
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            self._host = ""
        if parts.scheme not in {"http", "https"} or not self._host:
            raise SettingsError("--url: give the server's http(s) address, such as https://chat.example.com")
        self._is_secure = parts.scheme == "https"
        if not self._is_secure and not _is_here(self._host):
            raise SettingsError("--url: http would show the ticket to everyone on the way; give an https address")
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._prefix = parts.path.rstrip("/")

    def send(self, method: str, target: str, data: bytes | None, bearer: str) -> tuple[int, Any]:
        """The status and the JSON of the answer, which is None where it is another text."""
        from http.client import HTTPConnection, HTTPException, HTTPSConnection

        headers = {"Authorization": f"Bearer {bearer}", "Accept": "application/json"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        kind = HTTPSConnection if self._is_secure else HTTPConnection
        connection = kind(self._host, self._port, timeout=_ANSWER_SECONDS)
        try:
            connection.request(method, self._prefix + target, data, headers)
            answer = connection.getresponse()
            text = answer.read()
        except OSError as error:
            raise ConnectError(self.url, error.strerror or str(error) or "no answer") from None
        except HTTPException:
            raise ConnectError(self.url, "what answers there does not speak HTTP") from None
        finally:
            connection.close()
        if not text:
            return answer.status, None
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return max(answer.status, 300), None


def _is_here(host: str) -> bool:
    return host == "localhost" or host.startswith("127.") or host == "::1"


def _asks(command: Callable[Concatenate[Api, _P], None]) -> Callable[..., None]:
    """A command that asks the running server: the options that say which one, and who asks, are added to its own."""
    call: Callable[..., None] = command

    def run(data: Data = None, url: ServerUrl = None, token_file: TokenFile = None, **own: Any) -> None:
        call(Api(data, url, token_file), **own)

    where = [part for part in signature(run).parameters.values() if part.kind is not Parameter.VAR_KEYWORD]
    _, *own_parts = signature(command).parameters.values()
    parts = sorted([*own_parts, *where], key=lambda part: part.default is not Parameter.empty)
    run.__signature__ = Signature(parts)  # type: ignore[attr-defined]  # Typer reads it
    run.__annotations__ = {}
    run.__name__ = command.__name__
    return run


def _secret(file: str, option: str) -> str:
    """The first line of the file."""
    with _opened(file) as source:
        secret = source.readline().strip("\r\n")
    if not secret or not secret.isprintable():
        raise SettingsError(f"{option}: the first line of the file is to hold it; this one holds nothing of use")
    return secret


@app.command(help="How many are here, and what they do.")
@_asks
def live(api: Api, as_json: Json = False) -> None:
    found = api.ask("GET", "live")
    if as_json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        if isinstance(value, list):
            value = ", ".join(f"{room['name']} {room.get('people', '')}".strip() for room in value)
        print(f"{name:<11} {_shown(value)}")


# Reports


@_reports.command(name="show", help="Show the reports, or one with what it proves.")
@_asks
def show_reports(
    api: Api,
    ref: Annotated[str | None, typer.Argument(metavar="[REF]", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Those that were decided, too.")] = False,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    if ref is None:
        found = api.ask("GET", "reports", state=None if everything else "open", limit=limit)["reports"]
        _list(
            found,
            "REF STATE WHEN ROOM REPORTER ACCUSED REASON",
            lambda report: [
                report["ref"],
                report.get("decision") or report["state"],
                _when(report["created_ms"]),
                report["room"],
                report["reporter"] or "the filter",
                report["accused"],
                report["reason"],
            ],
            as_json,
            "no reports" if everything else "no report is open",
        )
        return
    report = api.ask("GET", "reports", ref)
    if as_json:
        print(json.dumps(report))
    else:
        _show_report(report)


def _show_report(report: Mapping[str, Any]) -> None:
    evidence = report["evidence"]
    fields = {
        "ref": report["ref"],
        "state": report["decision"] or report["state"],
        "when": _when(report["created_ms"]),
        "room": report["room"],
        "reporter": report["reporter"] or "the filter",
        "accused": report["accused"],
        "reason": report["reason"],
        "note": report["note"] or None,
        "evidence": _CHANGED if evidence is None else _weight(evidence),
    }
    for name, value in fields.items():
        if value is not None:
            print(f"{name:<9} {_shown(value)}")
    for message in () if evidence is None else evidence["messages"]:
        _show_proof(message["word"], message["by"], message["ts"], message["text"])


def _weight(evidence: Mapping[str, Any]) -> str:
    """How the evidence is, in a few words."""
    named = {"held": "held", "whole": "whole", "from_start": "from the start"}
    return ", ".join(["as written", *(words for name, words in named.items() if evidence[name])])


def _show_proof(word: str, by: str | None, ts: int, text: str | None) -> None:
    said = "(kept back by the reporter)" if text is None else _line(text)
    print(f"  {word:<8} {by or '?':<8} {_when(ts)}  {said}")


@app.command(help="Decide an open report.")
@_asks
def decide(
    api: Api,
    ref: Annotated[str, typer.Argument(metavar="REF")],
    decision: Annotated[
        str, typer.Argument(metavar="dismiss|warn|mute|ban|pass", help="pass says a message that was held.")
    ],
    reason: Reason = "",
    period: For = "forever",
) -> None:
    body = {"decision": decision, "reason": reason, "seconds": seconds_of(period)}
    if decision not in {"mute", "ban"}:
        del body["seconds"]
    api.ask("POST", "reports", ref, "decision", body=body)
    print(f"{ref}: {decision}", file=sys.stderr)


# Bans, mutes, kicks


_PENALTY: Final = "ID WHOM SINCE UNTIL BY REASON"


@app.command(help="Keep a person out, and the address that they come from; or an address alone.")
@_asks
def ban(
    api: Api,
    whom: Annotated[str, typer.Argument(metavar="PERSON|ADDRESS", help="A person's id, or one address.")],
    period: For = "forever",
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    kind = "address" if _is_address(whom) else "person"
    body = {kind: whom, "reason": reason, "seconds": seconds_of(period)}
    made = api.ask("POST", "bans", body=body)["bans"]
    _list(made, _PENALTY, _ban_row, as_json, "no ban was made")


@app.command(help="Lift a ban.")
@_asks
def unban(
    api: Api,
    id: Annotated[str, typer.Argument(metavar="ID")],
) -> None:
    api.ask("DELETE", "bans", id)
    print(f"{id}: lifted", file=sys.stderr)


@app.command(help="List who is banned.")
@_asks
def bans(api: Api, as_json: Json = False) -> None:
    found = api.ask("GET", "bans")["bans"]
    _list(found, _PENALTY, _ban_row, as_json, "nobody is banned")


def _ban_row(record: Mapping[str, Any]) -> list[object]:
    # Of an address only a keyed hash is kept.
    whom = record["subject"] if record["kind"] == "person" else "an address"
    return [record["id"], whom, *_span(record)]


@app.command(help="Let a person read but not speak: in one room, or anywhere.")
@_asks
def mute(
    api: Api,
    person: Annotated[str, typer.Argument(metavar="PERSON")],
    room: Annotated[str | None, typer.Option("--room", metavar="ROOM", help="In this room alone.")] = None,
    period: For = "forever",
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    body = {"person": person, "room": room, "reason": reason, "seconds": seconds_of(period)}
    made = [api.ask("POST", "mutes", body=body)]
    _list(made, _PENALTY, _mute_row, as_json, "no mute was made")


@app.command(help="Lift a mute.")
@_asks
def unmute(
    api: Api,
    id: Annotated[str, typer.Argument(metavar="ID")],
) -> None:
    api.ask("DELETE", "mutes", id)
    print(f"{id}: lifted", file=sys.stderr)


@app.command(help="List who is muted.")
@_asks
def mutes(api: Api, as_json: Json = False) -> None:
    found = api.ask("GET", "mutes")["mutes"]
    _list(found, _PENALTY, _mute_row, as_json, "nobody is muted")


def _mute_row(record: Mapping[str, Any]) -> list[object]:
    whom = record["person"] + (f" in {record['room']}" if record["room"] else "")
    return [record["id"], whom, *_span(record)]


def _span(record: Mapping[str, Any]) -> list[object]:
    until = "forever" if record["until_ms"] is None else _when(record["until_ms"])
    return [_when(record["since_ms"]), until, record["by"], record["reason"]]


@app.command(help="End a person's connections. They may come back.")
@_asks
def kick(
    api: Api,
    person: Annotated[str, typer.Argument(metavar="PERSON")],
    reason: Reason = "",
) -> None:
    count = api.ask("POST", "kicks", body={"person": person, "reason": reason})["count"]
    print(f"{count} connections ended", file=sys.stderr)


# Rooms


@app.command(help="List the public rooms.")
@_asks
def rooms(api: Api, as_json: Json = False) -> None:
    _list(
        api.ask("GET", "rooms")["rooms"],
        "NAME TITLE STATE SLOW",
        lambda room: [
            room["name"],
            room["title"],
            "archived" if room["archived"] else "locked" if room["locked"] else "open",
            f"{room['slow_ms'] / 1000:g}s" if room["slow_ms"] else "off",
        ],
        as_json,
        "no rooms",
    )


RoomName = Annotated[str, typer.Argument(metavar="NAME")]


@_room.command(name="make", help="Make a public room.")
@_asks
def make_room(
    api: Api,
    name: RoomName,
    title: Annotated[str | None, typer.Option("--title", metavar="TEXT", help="[default: the name]")] = None,
) -> None:
    body = {"name": name, "title": name if title is None else title}
    api.ask("POST", "rooms", body=body)
    print(f"{name}: made", file=sys.stderr)


@_room.command(name="lock", help="Let nobody but moderators speak in it.")
@_asks
def lock_room(api: Api, name: RoomName) -> None:
    _change_room(api, name, "locked", locked=True)


@_room.command(name="unlock", help="Let everybody speak in it again.")
@_asks
def unlock_room(api: Api, name: RoomName) -> None:
    _change_room(api, name, "open", locked=False)


@_room.command(name="archive", help="Close it for good; what was said in it is kept as long as ever.")
@_asks
def archive_room(api: Api, name: RoomName) -> None:
    _change_room(api, name, "archived", archived=True)


@_room.command(name="title", help="Give it another title.")
@_asks
def title_room(
    api: Api,
    name: RoomName,
    title: Annotated[str, typer.Argument(metavar="TEXT")],
) -> None:
    _change_room(api, name, _line(title), title=title)


@_room.command(name="slow", help="Let each one say one message in that time.")
@_asks
def slow_room(
    api: Api,
    name: RoomName,
    period: Annotated[str, typer.Argument(metavar="TIME", help="Such as 30s or 2m; off for no limit.")],
) -> None:
    seconds = 0 if period == "off" else seconds_of(period)
    if seconds is None:
        raise SettingsError("TIME: give a time such as 30s or 2m, or off; `room lock` lets nobody speak")
    _change_room(api, name, f"slow {period}", slow_ms=1000 * seconds)


def _change_room(api: Api, name: str, words: str, **change: object) -> None:
    api.ask("PATCH", "rooms", name, body=change)
    print(f"{name}: {words}", file=sys.stderr)


@app.command(help="Say something in a public room.")
@_asks
def say(
    api: Api,
    room: Annotated[str, typer.Argument(metavar="ROOM")],
    text: Annotated[str, typer.Argument(metavar="TEXT")],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Who says it.")],
) -> None:
    answer = api.ask("POST", "rooms", room, "messages", body={"text": text, "name": name})
    print(answer["mid"])


@app.command(help="Delete a message of a public room.")
@_asks
def delete(
    api: Api,
    room: Annotated[str, typer.Argument(metavar="ROOM")],
    mid: Annotated[str, typer.Argument(metavar="MID")],
) -> None:
    api.ask("DELETE", "rooms", room, "messages", mid)
    print(f"{mid}: deleted", file=sys.stderr)


# The filter


@app.command(help="Show the filter's word list, or set it to that of a file, - for stdin.")
@_asks
def words(
    api: Api,
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]",
            help="One entry a line behind pass, flag, hold or refuse: refuse free money*",
            show_default=False,
        ),
    ] = None,
) -> None:
    from parlour.core.filter import parsed_words

    if file is None:
        for entry, kind in api.ask("GET", "filter")["words"].items():
            print(f"{kind} {_line(entry)}")
        return
    with _opened(file) as source:
        text = source.read()
    try:
        found = parsed_words(text)
    except ValueError as error:
        raise SettingsError(f"{file}: {error}") from None
    api.ask("PUT", "filter", body={**api.ask("GET", "filter"), "words": dict(found)})
    print(f"{len(found)} entries hold from now on", file=sys.stderr)


# The audit log


@_audit.command(name="show", help="List what operators and moderators did, the newest first.")
@_asks
def show_audit(
    api: Api,
    before: Annotated[int | None, typer.Option("--before", metavar="N", help="Those before this one.")] = None,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    _list(
        api.ask("GET", "audit", before=before, limit=limit)["entries"],
        "N WHEN ACTOR ACTION SUBJECT",
        lambda entry: [entry["n"], _when(entry["ts"]), entry["actor"], entry["action"], entry["subject"]],
        as_json,
        "nothing was done yet",
    )


@app.command(help="Take back what entry N of the audit log did.")
@_asks
def undo(
    api: Api,
    number: Annotated[int, typer.Argument(metavar="N", min=1)],
) -> None:
    api.ask("POST", "audit", str(number), "undo", body={})
    print(f"{number}: taken back", file=sys.stderr)


# Operators and tokens


PasswordFile = Annotated[
    str | None,
    typer.Option("--password-file", metavar="FILE", help="File with the password, - for stdin. [default: it is asked]"),
]


@app.command(help="List the operators.")
@_asks
def operators(api: Api, as_json: Json = False) -> None:
    _list(
        api.ask("GET", "operators")["operators"],
        "ID NAME ROLE SINCE",
        lambda operator: [
            operator["id"],
            operator["name"],
            "disabled" if operator["disabled"] else operator["role"],
            _when(operator["created_ms"]),
        ],
        as_json,
        "no operators; `parlour admin link` makes the first",
    )


@_operator.command(name="add", help="Let somebody sign in to the console.")
@_asks
def add_operator(
    api: Api,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    role: Annotated[str, typer.Option("--role", metavar="moderator|admin", help="What they may do.")] = "moderator",
    password_file: PasswordFile = None,
) -> None:
    body = {"name": name, "password": _password(password_file), "role": role}
    print(api.ask("POST", "operators", body=body)["id"])


@_operator.command(name="change", help="Change an operator's role or password, or whether they may sign in.")
@_asks
def change_operator(
    api: Api,
    id: Annotated[str, typer.Argument(metavar="ID")],
    role: Annotated[str | None, typer.Option("--role", metavar="moderator|admin", help="What they may do.")] = None,
    disabled: Annotated[
        bool | None, typer.Option("--disable/--enable", help="Whether they may sign in.", show_default=False)
    ] = None,
    password: Annotated[bool, typer.Option("--password", help="Ask for a new password.")] = False,
    password_file: PasswordFile = None,
) -> None:
    new = _password(password_file) if password or password_file is not None else None
    if role is None and disabled is None and new is None:
        raise SettingsError("nothing to change: give --role, --disable, --enable or --password")
    api.ask("PATCH", "operators", id, body={"role": role, "disabled": disabled, "password": new})
    print(f"{id}: changed", file=sys.stderr)


def _password(file: str | None) -> str:
    if file is not None:
        return _secret(file, "--password-file")
    if not sys.stdin.isatty():
        raise SettingsError(
            "--password-file: there is no terminal to ask for the password; name a file, or - for stdin"
        )
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password


@app.command(help="List the API tokens. None can be shown again.")
@_asks
def tokens(api: Api, as_json: Json = False) -> None:
    _list(
        api.ask("GET", "tokens")["tokens"],
        "ID NAME SCOPES SINCE UNTIL USED",
        lambda token: [
            token["id"],
            token["name"],
            ",".join(token["scopes"]),
            _when(token["created_ms"]),
            "forever" if token["until_ms"] is None else _when(token["until_ms"]),
            "never" if token["last_used_ms"] is None else _when(token["last_used_ms"]),
        ],
        as_json,
        "no tokens",
    )


@_token.command(name="make", help="Make a token for a program, and print it this once.")
@_asks
def make_token(
    api: Api,
    name: Annotated[str, typer.Argument(metavar="NAME", help="For whom it is.")],
    scopes: Annotated[
        list[str],
        typer.Option(
            "--scopes",
            metavar="SCOPES",
            help="What it may do: read, send, kick, moderate, rooms, admin; commas between them, or repeated.",
        ),
    ],
    period: For = "forever",
) -> None:
    parts = [part.strip() for text in scopes for part in text.split(",") if part.strip()]
    body = {"name": name, "scopes": parts, "seconds": seconds_of(period)}
    print(api.ask("POST", "tokens", body=body)["token"])


@_token.command(name="revoke", help="Make a token worthless.")
@_asks
def revoke_token(
    api: Api,
    id: Annotated[str, typer.Argument(metavar="ID")],
) -> None:
    api.ask("DELETE", "tokens", id)
    print(f"{id}: revoked", file=sys.stderr)


app.add_typer(_reports, name="reports", help="Show the reports, or one with what it proves; `verify` trusts no server.")
app.add_typer(_audit, name="audit", help="List what was done; `verify` sees that the log is as it was written.")
app.add_typer(_room, name="room", help="Make a public room, or change one.")
app.add_typer(_operator, name="operator", help="Add or change an operator.")
app.add_typer(_token, name="token", help="Make or revoke an API token.")


# How things are said and shown


_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds_of(period: str) -> int | None:
    """`30m`, `2h`, `7d` in seconds; None for `forever`. Raises `SettingsError`."""
    if period == "forever":
        return None
    number, unit = period[:-1], period[-1:]
    if unit not in _UNITS or not (number.isascii() and number.isdecimal()) or not 0 < int(number) <= 100_000:
        raise SettingsError(f"{_line(period)!r} is no time; give one such as 30s, 30m, 2h, 7d, or forever")
    return int(number) * _UNITS[unit]


def _is_address(text: str) -> bool:
    import ipaddress

    bare, slash, _ = text.partition("/")
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return False
    if slash:
        raise SettingsError("ADDRESS: give one address; a ban covers an IPv4 address, or the /64 of an IPv6 one")
    return True


def _list(
    found: Sequence[Mapping[str, Any]],
    heads: str,
    row: Callable[[Mapping[str, Any]], Sequence[object]],
    as_json: bool,
    nothing: str,
) -> None:
    """A line for each: of JSON, or below `heads`. To have nothing to list is no failure, and words for stderr."""
    if as_json:
        for record in found:
            print(json.dumps(record))
        return
    if not found:
        print(nothing, file=sys.stderr)
        return
    lines = [heads.split(), *([_shown(cell) for cell in row(record)] for record in found)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def _shown(value: object) -> str:
    return "-" if value is None else _line(str(value))


def _line(text: str) -> str:
    """The text as a terminal may show it: what people write must not move its cursor."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _when(ms: int) -> str:
    """UTC milliseconds as a time of day here."""
    return f"{datetime.fromtimestamp(ms / 1000).astimezone():%Y-%m-%d %H:%M}"


def _utc_ms() -> int:
    return time.time_ns() // 1_000_000

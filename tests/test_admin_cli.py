"""`parlour admin`: on the files, and through a running server."""

import asyncio
import json
import re
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from parlour.admin import seconds_of
from parlour.app import new_store
from parlour.cli import main
from parlour.core.events import Reported
from parlour.core.evidence import Evidence, Finding, Proof, Word, sealed
from parlour.core.keys import Keyring
from parlour.core.records import Report
from parlour.errors import SettingsError
from parlour.keyfile import FILE, loaded_keyring
from parlour.settings import Settings
from parlour.store import Store
from tests.servers import serving

NOBODY = "http://127.0.0.1:9"

Admin = Callable[..., tuple[int, str, str]]
"""Runs `parlour admin` with these words on the data folder; gives the exit code, the output, and the words."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder that is not there yet."""
    return tmp_path / "data"


@pytest.fixture
def admin(capsys: pytest.CaptureFixture[str], folder: Path) -> Admin:
    return on(capsys, folder)


def on(capsys: pytest.CaptureFixture[str], folder: Path) -> Admin:
    def run(*words: str) -> tuple[int, str, str]:
        code = main(["admin", *words, "--data", str(folder)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def served_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data folder of a server that runs."""
    folder = tmp_path_factory.mktemp("served") / "data"
    with serving("--data", str(folder)):
        yield folder


@pytest.fixture
def served(capsys: pytest.CaptureFixture[str], served_folder: Path) -> Admin:
    return on(capsys, served_folder)


def with_store(folder: Path, *records: Report, acts: int = 0) -> None:
    """Make the database as a server would, with these reports and so many entries of the audit log."""

    async def make() -> None:
        store: Store = new_store(Settings(data=folder))
        await store.open()
        for record in records:
            await store.put(record)
        for number in range(acts):
            await store.audit(actor="cli", action="kick", subject=f"p-{number}")
        await store.close()

    loaded_keyring(folder)
    folder.chmod(0o700)
    asyncio.run(make())


def changed(folder: Path, statement: str) -> None:
    """Do to the database what no server does."""
    with closing(sqlite3.connect(folder / "parlour.db")) as database, database:
        database.execute(statement)


def report(keyring: Keyring, ref: str, *said: tuple[Word, str | None]) -> Report:
    """A sealed report of what cy said to ada in a booth."""
    proofs = [
        Proof(Reported(f"m{off}", off, 1000 * off, "local", text, "stamp"), word, "accused")
        for off, (word, text) in enumerate(said, 1)
    ]
    is_whole = all(word == "relayed" for word, _ in said)
    finding = Finding("booth-1", "p-ada", "p-cy", proofs, is_whole, from_start=is_whole)
    evidence = sealed(keyring, Evidence(finding, 5000, "insults", "look"))
    return Report(ref, "booth-1", "p-ada", "p-cy", "insults", "look", 5000, evidence)


# Words


@pytest.mark.parametrize(
    ("period", "seconds"), [("30s", 30), ("30m", 1800), ("2h", 7200), ("7d", 604_800), ("forever", None)]
)
def test_times(period: str, seconds: int | None) -> None:
    assert seconds_of(period) == seconds


@pytest.mark.parametrize(
    "period", ["", "d", "7", "0d", "-1d", "1.5h", "7 d", "7w", "\u0667d", "999999999d", "\x1b[2Jd"]
)
def test_no_times(period: str) -> None:
    with pytest.raises(SettingsError, match="is no time; give one such as"):
        seconds_of(period)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ban", "p-ada", "--for", "tea"], "'tea' is no time"),
        (["ban", "198.51.100.0/24"], "ADDRESS: give one address"),
        (["ban"], "PERSON|ADDRESS"),
        (["room", "slow", "tea", "forever"], "TIME: give a time"),
        (["bans", "--url", "http://chat.example.com"], "--url: http would show the ticket"),
        (["bans", "--url", "ftp://chat.example.com"], "--url: give the server's http(s) address"),
        (["bans", "--url", "http://127.0.0.1:tea"], "--url: give the server's http(s) address"),
        (["audit", "--limit", "0"], "--limit"),
        (["audits"], "Did you mean 'audit'?"),
        (["operator", "change", "1"], "nothing to change"),
        (["operator", "add", "bo"], "--password-file: there is no terminal"),
        (["words", "no-such-file", "--url", NOBODY], "no-such-file: No such file"),
        (["backup", "copy.db"], "--data: there is no"),
        (["export"], "--data: there is no"),
        (["audit", "verify"], "--data: there is no"),
        (["reports", "verify"], "--data: there is no"),
    ],
)
def test_wrong_usage(admin: Admin, folder: Path, arguments: list[str], words: str) -> None:
    """The words say what to give; nothing is asked, and nothing made."""
    loaded_keyring(folder)
    code, out, err = admin(*arguments)
    assert (code, out) == (1 if "no-such-file" in arguments else 2, "")
    assert words in err
    assert [file.name for file in folder.iterdir()] == [FILE]


# The files


def test_the_link_makes_an_admin_once(served: Admin, served_folder: Path) -> None:
    """A new one voids the one before."""
    links = [served("link")[1] for _ in range(2)]
    assert all(re.fullmatch(r"http://127\.0\.0\.1:\d+/admin#first=[\w.-]+\n", link) for link in links)
    url = links[0].partition("/admin#")[0]
    tickets = [link.strip().partition("#first=")[2] for link in links]
    assert [first(url, ticket) for ticket in (*tickets, tickets[1])] == [401, 201, 401]


def first(url: str, ticket: str) -> int:
    """The status of the answer to who uses a link."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    body = json.dumps({"ticket": ticket, "name": "ada", "password": "correct horse battery"}).encode()
    try:
        with urlopen(Request(f"{url}/admin/api/first", body, {"Content-Type": "application/json"})) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def test_a_link_before_the_first_start_leads_to_where_the_server_will_be(
    admin: Admin, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARLOUR_PORT", "9000")
    assert admin("link")[1].startswith("http://127.0.0.1:9000/admin#first=")
    monkeypatch.setenv("PARLOUR_URL", "https://chat.example.com/talk")
    assert admin("link")[1].startswith("https://chat.example.com/talk/admin#first=")


def test_a_backup_of_a_running_server_is_a_server(
    served: Admin, capsys: pytest.CaptureFixture[str], tmp_path: Path, served_folder: Path
) -> None:
    """For its owner alone, and not over a file that is there."""
    served("say", "public", "tea?", "--name", "kettle")
    copy = tmp_path / "copy" / "parlour.db"
    copy.parent.mkdir()
    code, out, err = served("backup", str(copy))
    assert (code, out, err) == (0, "", f"{copy}: written. Keep {served_folder / FILE} with it\n")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert '"text": "tea?"' in on(capsys, copy.parent)("export")[1]
    code, _, err = served("backup", str(copy))
    assert (code, err) == (1, f"parlour: error: no backup can be written: {copy}: File exists\n")


def test_what_is_exported_can_be_imported(
    admin: Admin, capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    """Once, into a store with nothing in it."""
    with_store(folder, report(loaded_keyring(folder), "r-1", ("relayed", "hi")), acts=2)
    file = tmp_path / "all.jsonl"
    assert admin("export", str(file)) == (0, "", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    new = on(capsys, tmp_path / "new")
    assert new("import", str(file)) == (0, "", "3 rows are stored\n")
    assert new("export")[1] == file.read_text()
    assert new("import", str(file))[::2] == (1, "parlour: error: the store is not empty: import into a new one\n")


def test_an_export_replaces_no_file(admin: Admin, folder: Path, tmp_path: Path) -> None:
    with_store(folder)
    file = tmp_path / "all.jsonl"
    file.write_text("mine")
    assert admin("export", str(file)) == (1, "", f"parlour: error: {file}: File exists\n")
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"tea\n", "line 1 is not of an export of Parlour"),
        (b'{"parlour": "export", "schema": "none"}\n', "the export is of another version"),
        (b"\xff\n", "not UTF-8"),
    ],
)
def test_an_import_of_something_else(admin: Admin, tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "all.jsonl"
    file.write_bytes(content)
    code, _, err = admin("import", str(file))
    assert code == 1
    assert words in err


@pytest.mark.parametrize("arguments", [["import", "all.jsonl"], ["migrate"]])
def test_what_needs_the_database_alone_waits_for_no_server(
    served: Admin, served_folder: Path, arguments: list[str]
) -> None:
    assert served(*arguments) == (1, "", f"parlour: error: a server runs on {served_folder}: stop it first\n")


def test_migrate_makes_a_database(admin: Admin, folder: Path) -> None:
    for _ in range(2):
        assert admin("migrate") == (0, "", "the database is of this version\n")
    assert (folder / "parlour.db").exists()


# Proofs


def test_the_audit_log_is_as_it_was_written(admin: Admin, folder: Path) -> None:
    with_store(folder, acts=3)
    code, out, _ = admin("audit", "verify")
    assert code == 0
    assert re.fullmatch(r"3 entries, all as they were written; the last is [0-9a-f]{64}\n", out)


@pytest.mark.parametrize(
    ("statement", "broken"), [("UPDATE audit SET actor = 'bo' WHERE n = 2", 2), ("DELETE FROM audit WHERE n = 1", 1)]
)
def test_an_audit_log_that_was_changed(admin: Admin, folder: Path, statement: str, broken: int) -> None:
    with_store(folder, acts=3)
    changed(folder, statement)
    code, out, _ = admin("audit", "verify")
    assert code == 1
    assert out.startswith(f"entry {broken} is not as it was written, or is missing")


def test_what_reports_prove(admin: Admin, folder: Path) -> None:
    """Of all in a line each; of one what was said. What people write does not move the cursor."""
    keyring = loaded_keyring(folder)
    said: list[tuple[Word, str | None]] = [("relayed", "go \x1b[2Jaway"), ("forged", "a lie"), ("withheld", None)]
    with_store(folder, report(keyring, "r-1", ("relayed", "hi")), report(keyring, "r-2", *said))
    code, out, _ = admin("reports", "verify")
    assert code == 0
    assert sorted(out.splitlines()) == [
        "r-1  as written; 1 relayed, whole, from the start",
        "r-2  as written; 1 relayed, 1 forged, 1 withheld",
    ]
    code, out, _ = admin("reports", "verify", "r-2")
    assert code == 0
    assert [re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "<when>", line) for line in out.splitlines()[1:]] == [
        "  relayed  accused  <when>  go \ufffd[2Jaway",
        "  forged   accused  <when>  a lie",
        "  withheld accused  <when>  (kept back by the reporter)",
    ]
    assert admin("reports", "verify", "r-3") == (1, "", "parlour: error: there is no report r-3\n")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE reports SET accused = 'p-bo' WHERE ref = 'r-1'",
        "UPDATE reports SET note = 'less' WHERE ref = 'r-1'",
        "UPDATE reports SET evidence = CAST(replace(CAST(evidence AS TEXT), 'hi', 'ho') AS BLOB) WHERE ref = 'r-1'",
        "UPDATE reports SET evidence = CAST(evidence AS TEXT) WHERE ref = 'r-1'",
    ],
)
def test_a_report_that_was_changed(admin: Admin, folder: Path, statement: str) -> None:
    """In what is sealed, or beside it."""
    keyring = loaded_keyring(folder)
    with_store(folder, report(keyring, "r-1", ("relayed", "hi")), report(keyring, "r-2", ("relayed", "hi")))
    changed(folder, statement)
    code, out, _ = admin("reports", "verify", "--json")
    assert code == 1
    assert {shown["ref"]: shown["as_written"] for shown in map(json.loads, out.splitlines())} == {
        "r-1": False,
        "r-2": True,
    }
    assert "r-1  CHANGED: " in admin("reports", "verify")[1]


def test_proofs_need_the_secret(admin: Admin, folder: Path) -> None:
    assert admin("reports", "verify")[0] == 4
    assert not folder.exists()


# The doctor


def checks(admin: Admin) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit code, and state and words of each check."""
    code, out, _ = admin("doctor", "--json")
    return code, {check["name"]: (check["state"], check["words"]) for check in map(json.loads, out.splitlines())}


def test_all_is_well(admin: Admin, folder: Path) -> None:
    with_store(folder, acts=2)
    code, found = checks(admin)
    assert code == 0
    assert {name: state for name, (state, _) in found.items()} == {
        "data folder": "ok",
        "secrets": "ok",
        "database": "ok",
        "audit log": "ok",
        "disk": "ok",
        "server": "warn",  # none runs
        "clock": "ok",
        "proxy": "ok",
    }
    assert admin("doctor")[1].splitlines()[0] == f"ok    data folder  {folder}"


def test_a_running_server_is_seen(served: Admin) -> None:
    _, found = checks(served)
    assert found["server"][0] == "ok"
    assert found["readiness"] == ("ok", "it takes people in")


def test_where_no_server_was_yet(admin: Admin, folder: Path) -> None:
    """That is no failure, and nothing is made."""
    code, found = checks(admin)
    assert (code, list(found)) == (0, ["data folder"])
    assert not folder.exists()


def test_a_server_that_was_killed(admin: Admin, folder: Path) -> None:
    with_store(folder)
    (folder / "server.json").write_text('{"url": "http://127.0.0.1:9", "pid": 1}')
    assert checks(admin)[1]["server"] == (
        "warn",
        "none runs on this folder, and the last one was killed; start `parlour serve`",
    )


def opened_to_all(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).chmod(0o644)


def garbled(name: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_bytes(b"{}")

    return write


@pytest.mark.parametrize(
    ("spoil", "name", "state", "words"),
    [
        (lambda folder: folder.chmod(0o755), "data folder", "warn", "chmod 700"),
        (opened_to_all(FILE), "secrets", "FAIL", "chmod 600"),
        (garbled(FILE), "secrets", "FAIL", "restore it, or remove it"),
        (opened_to_all("parlour.db"), "database", "FAIL", "chmod 600"),
        (garbled("parlour.db"), "database", "FAIL", "is not a database"),
        (
            lambda folder: changed(folder, "UPDATE alembic_version SET version_num = '9999'"),
            "database",
            "FAIL",
            "newer version of Parlour",
        ),
        (
            lambda folder: changed(folder, "UPDATE audit SET actor = 'bo' WHERE n = 1"),
            "audit log",
            "FAIL",
            "entry 1 is not as it was written",
        ),
        (lambda folder: changed(folder, "DELETE FROM alembic_version"), "database", "FAIL", "parlour admin migrate"),
    ],
)
def test_what_is_wrong_is_told_with_its_fix(
    admin: Admin, folder: Path, spoil: Callable[[Path], None], name: str, state: str, words: str
) -> None:
    with_store(folder, acts=2)
    spoil(folder)
    code, found = checks(admin)
    assert code == (state == "FAIL")
    assert found[name][0] == state
    assert words in found[name][1]


def test_a_clock_that_went_back(admin: Admin, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_store(folder, acts=1)
    monkeypatch.setattr("parlour.admin._utc_ms", lambda: 1_750_000_000_000)
    code, found = checks(admin)
    assert code == 1
    assert found["clock"][1].startswith("it stands at 2025-06-15 15:06 UTC, before what is stored")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"URL": "https://chat.example.com"}, "set trusted_hops = 1"),
        ({"TRUSTED_HOPS": "1", "HOST": "0.0.0.0"}, "set host = 127.0.0.1"),
        ({"HOST": "0.0.0.0"}, "put a proxy with HTTPS before it"),
        ({"URL": "https://chat.example.com", "TRUSTED_HOPS": "1"}, "nothing speaks against"),
    ],
)
def test_how_the_server_is_reached(
    admin: Admin, folder: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], words: str
) -> None:
    with_store(folder)
    for name, value in settings.items():
        monkeypatch.setenv(f"PARLOUR_{name}", value)
    assert words in checks(admin)[1]["proxy"][1]


# Through the server


def listed(served: Admin, *words: str) -> list[dict[str, Any]]:
    code, out, err = served(*words, "--json")
    assert (code, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


def test_a_ban_and_its_undo(served: Admin) -> None:
    (made,) = listed(served, "ban", "p-ada", "--for", "2d", "--reason", "spam")
    assert (made["kind"], made["subject"], made["reason"], made["by"]) == ("person", "p-ada", "spam", "cli")
    assert made["until_ms"] - made["since_ms"] == 2 * 86_400_000
    (entry,) = listed(served, "audit", "--limit", "1")
    assert (entry["action"], entry["actor"], entry["subject"]) == ("ban", "cli", "p-ada")
    assert served("undo", str(entry["n"])) == (0, "", f"{entry['n']}: taken back\n")
    assert served("bans") == (0, "", "nobody is banned\n")
    assert served("undo", str(entry["n"]))[0] == 1


def test_an_address_is_shown_to_nobody(served: Admin) -> None:
    code, out, _ = served("ban", "198.51.101.7")
    id, *shown = out.splitlines()[1].split()
    assert (code, shown[:2], shown[4]) == (0, ["an", "address"], "forever")
    assert "198.51.101.7" not in out + served("bans", "--json")[1]
    assert served("unban", id) == (0, "", f"{id}: lifted\n")
    assert served("unban", id)[0] == 1


def test_a_mute_in_one_room(served: Admin) -> None:
    (made,) = listed(served, "mute", "p-bo", "--room", "public", "--for", "30m")
    assert (made["person"], made["room"], made["reason"]) == ("p-bo", "public", "")
    assert [mute["id"] for mute in listed(served, "mutes")] == [made["id"]]
    assert served("unmute", made["id"]) == (0, "", f"{made['id']}: lifted\n")
    assert served("mutes") == (0, "", "nobody is muted\n")


def test_a_kick_says_how_many(served: Admin) -> None:
    assert served("kick", "p-nobody") == (0, "", "0 connections ended\n")


def test_a_room_through_its_life(served: Admin) -> None:
    assert served("room", "make", "tea", "--title", "Tea time")[0] == 0
    for change in (["lock", "tea"], ["slow", "tea", "30s"], ["title", "tea", "More tea"]):
        assert served("room", *change)[0] == 0
    room = next(room for room in listed(served, "rooms") if room["name"] == "tea")
    assert (room["title"], room["locked"], room["slow_ms"]) == ("More tea", True, 30_000)
    for change in (["unlock", "tea"], ["slow", "tea", "off"], ["archive", "tea"]):
        assert served("room", *change)[0] == 0
    room = next(room for room in listed(served, "rooms") if room["name"] == "tea")
    assert (room["locked"], room["slow_ms"], room["archived"]) == (False, 0, True)


def test_something_said_and_taken_back(served: Admin) -> None:
    code, mid, _ = served("say", "public", "tea is ready", "--name", "kettle")
    assert code == 0
    assert served("delete", "public", mid.strip()) == (0, "", f"{mid.strip()}: deleted\n")
    assert served("say", "no-such-room", "tea", "--name", "kettle")[0] == 1


def test_words_go_in_as_they_come_out(served: Admin, tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("# spam\nrefuse free money*\nflag fool\n")
    assert served("words", str(file)) == (0, "", "2 entries hold from now on\n")
    code, out, _ = served("words")
    assert (code, out) == (0, "refuse free money*\nflag fool\n")
    file.write_text("refuse\n")
    code, _, err = served("words", str(file))
    assert code == 2
    assert err.startswith(f"parlour: error: {file}: line 1: ")
    file.write_text("")
    assert served("words", str(file))[0] == 0
    assert served("words") == (0, "", "")


def test_an_operator(served: Admin, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("correct horse battery\n")
    code, id, _ = served("operator", "add", "bo", "--password-file", str(password))
    id = id.strip()
    assert code == 0
    assert served("operator", "change", id, "--role", "admin", "--disable") == (0, "", f"{id}: changed\n")
    (bo,) = (operator for operator in listed(served, "operators") if operator["name"] == "bo")
    assert (bo["id"], bo["role"], bo["disabled"]) == (id, "admin", True)
    assert served("operator", "add", "bo", "--password-file", str(password))[0] == 1
    password.write_text("\n")
    assert served("operator", "add", "cy", "--password-file", str(password))[0] == 2


def test_a_token_may_what_its_scopes_say(served: Admin, tmp_path: Path) -> None:
    """It is shown once; without one that is good the exit code is 4."""
    code, token, _ = served("token", "make", "watcher", "--scopes", "read, send", "--for", "30d")
    assert code == 0
    file = tmp_path / "token"
    file.write_text(token)
    assert served("live", "--token-file", str(file))[0] == 0
    code, out, err = served("bans", "--token-file", str(file))
    assert (code, out) == (4, "")
    assert "scope" in err
    (made,) = listed(served, "tokens")
    assert (made["name"], sorted(made["scopes"])) == ("watcher", ["read", "send"])
    assert token.strip() not in json.dumps(made)
    assert served("token", "revoke", made["id"])[0] == 0
    assert served("live", "--token-file", str(file))[0] == 4


def test_the_secret_of_another_server_is_not_taken(served: Admin, admin: Admin, folder: Path) -> None:
    url = json.loads(served_json(served))["url"]
    loaded_keyring(folder)
    code, _, err = admin("live", "--url", url)
    assert code == 4
    assert "sign in first" in err


def served_json(served: Admin) -> str:
    words = checks(served)[1]["server"][1]
    return json.dumps({"url": words.rpartition(" ")[2]})


def test_reports_that_are_not_there(served: Admin) -> None:
    assert served("reports") == (0, "", "no report is open\n")
    assert served("reports", "--all", "--json") == (0, "", "")
    assert served("reports", "r-nope")[0] == 1


# Where there is no server


def test_no_server(admin: Admin, folder: Path) -> None:
    loaded_keyring(folder)
    code, _, err = admin("live")
    assert code == 3
    assert "--data" in err
    assert admin("live", "--url", NOBODY)[0] == 3


def test_a_folder_without_secrets_lets_nobody_in(admin: Admin, folder: Path) -> None:
    """None are made: those of another folder are meant."""
    code, _, err = admin("live", "--url", NOBODY)
    assert code == 4
    assert f"{folder / FILE} can't be read" in err
    assert not folder.exists()


@contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[tuple[str, list[str]]]:
    """A server that says the same to everyone; its address, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<p>hello</p>"), (404, b"not found"), (502, b"{}"), (500, b'{"error": "no"}')]
)
def test_what_answers_is_something_else(admin: Admin, folder: Path, status: int, body: bytes) -> None:
    loaded_keyring(folder)
    with answering(status, body) as (url, _):
        code, out, err = admin("live", "--url", url)
    assert (code, out) == (3, "")
    assert "not as the HTTP API of Parlour does" in err


def test_a_ticket_is_sent_nowhere_else(admin: Admin, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not along a redirect, and not to a proxy."""
    loaded_keyring(folder)
    with answering(200, b"{}") as (other, asked), answering(302, b"", Location=other) as (url, first):
        monkeypatch.setenv("http_proxy", other)
        assert admin("live", "--url", url)[0] == 3
        assert (first, asked) == (["/admin/api/live"], [])


def test_words_of_a_server_do_not_move_the_cursor(admin: Admin, folder: Path) -> None:
    loaded_keyring(folder)
    body = json.dumps({"error": {"code": "forbidden", "message": "no\x1b[2J"}}).encode()
    with answering(403, body) as (url, _):
        assert admin("live", "--url", f"{url}/talk/") == (4, "", "parlour: error: no\ufffd[2J\n")

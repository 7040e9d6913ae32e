"""What the operators' API does: sign in, rooms, people, reports, the filter, the audit log, operators and tokens."""

from collections.abc import AsyncIterator
from dataclasses import replace
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import httpx2
import pytest

from parlour.desk import Actor
from parlour.operators import SESSION_SECONDS, SIGN_IN_BURST
from parlour.web.admin import COOKIE, NEEDS
from tests.web.office import KEYRING, MESSAGES, NOW, PASSWORD, URL, World, bearer, filed, running

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path) as world:
        yield world


@pytest.fixture
async def ada(world: World) -> httpx2.AsyncClient:
    """An admin, signed in."""
    return await world.signed_in("ada")


async def told(answer: httpx2.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


async def error_of(answer: httpx2.Response, status: int) -> tuple[str, str | None]:
    error = (await told(answer, status))["error"]
    assert error["message"]
    return error["code"], error.get("field")


# Sessions


async def test_the_cookie_is_for_this_server_alone(world: World) -> None:
    """No script reads it, no other site sends it, no plain connection carries it, and no subdomain sets it."""
    await world.signed_in("ada")
    answer = await world.client().post("/sign-in", json={"name": "Ada", "password": PASSWORD})
    me = await told(answer)
    assert set(me) == {"id", "name", "role", "csrf"}
    (line,) = answer.headers.get_list("set-cookie")
    morsel = SimpleCookie(line)[COOKIE]
    assert COOKIE.startswith("__Host-")
    assert (morsel["secure"], morsel["httponly"], morsel["samesite"].lower()) == (True, True, "strict")
    assert (morsel["path"], morsel["domain"], morsel["max-age"]) == ("/", "", str(SESSION_SECONDS))
    assert answer.headers["cache-control"] == "no-store"
    assert me["csrf"] not in line


async def test_who_signs_out_has_no_cookie_and_no_session_any_more(world: World, ada: httpx2.AsyncClient) -> None:
    ticket = ada.cookies[COOKIE]
    await told(await ada.post("/sign-out"), 204)
    assert COOKIE not in ada.cookies
    answer = await world.client({"Cookie": f"{COOKIE}={ticket}"}).get("/me")
    assert await error_of(answer, 401) == ("unauthorized", None)


async def test_the_first_admin_comes_by_the_link_once(world: World) -> None:
    ticket = await world.operators.first_link()
    client = world.client()
    made = await told(await client.post("/first", json={"ticket": ticket, "name": "ada", "password": PASSWORD}), 201)
    assert (made["name"], made["role"]) == ("ada", "admin")
    assert await told(await client.get("/me")) == made
    again = await client.post("/first", json={"ticket": ticket, "name": "bo", "password": PASSWORD})
    assert await error_of(again, 401) == ("unauthorized", None)


async def test_fifty_bad_passwords_are_answered_with_the_time_to_wait(world: World) -> None:
    await world.signed_in("ada")
    before = world.hasher.count
    client = world.client(host="192.0.2.2")
    answers = [await client.post("/sign-in", json={"name": "bo", "password": "wrong"}) for _ in range(50)]
    assert [answer.status_code for answer in answers] == SIGN_IN_BURST * [401] + (50 - SIGN_IN_BURST) * [429]
    assert all(1 <= int(answer.headers["retry-after"]) <= 10 for answer in answers[SIGN_IN_BURST:])
    assert await error_of(answers[-1], 429) == ("rate_limited", None)
    assert world.hasher.count - before == SIGN_IN_BURST
    assert (await world.client().post("/sign-in", json={"name": "ada", "password": PASSWORD})).status_code == 200


async def test_the_address_behind_a_trusted_proxy_is_what_counts(tmp_path: Path) -> None:
    async with running(tmp_path, trusted_hops=1) as world:
        statuses = []
        for number in range(SIGN_IN_BURST + 1):
            client = world.client({"X-Forwarded-For": f"198.51.100.{number}, 203.0.113.9"}, host="127.0.0.1")
            answer = await client.post("/sign-in", json={"name": f"x{number}", "password": "wrong"})
            statuses.append(answer.status_code)
        assert statuses == SIGN_IN_BURST * [401] + [429]


async def test_the_command_line_and_a_token_are_who_they_are(world: World) -> None:
    assert await told(await world.cli().get("/me")) == {
        "id": "cli",
        "name": "the command line",
        "role": "admin",
        "csrf": None,
    }
    me = await told(await world.client(bearer(await world.token("read"))).get("/me"))
    assert (me["name"], me["csrf"]) == ("bot", None)


# Rooms


async def test_how_many_are_here(ada: httpx2.AsyncClient) -> None:
    live = await told(await ada.get("/live"))
    assert live == {
        "people": 3,
        "rooms": [{"name": "public", "people": 2}],
        "booths": 1,
        "waiting": 0,
        "messages": 7,
        "deliveries": 14,
    }


async def test_a_room_is_made_changed_and_closed(ada: httpx2.AsyncClient) -> None:
    made = await told(await ada.post("/rooms", json={"name": "tea", "title": "Tea"}), 201)
    assert made == {"name": "tea", "title": "Tea", "locked": False, "slow_ms": 0, "archived": False}
    assert await error_of(await ada.post("/rooms", json={"name": "tea", "title": "Tea"}), 409) == ("conflict", "name")
    assert await error_of(await ada.post("/rooms", json={"name": "T!", "title": "Tea"}), 400) == ("bad_field", "name")
    changed = await told(await ada.patch("/rooms/tea", json={"locked": True, "slow_ms": 5000, "title": "Cold tea"}))
    assert changed == {**made, "locked": True, "slow_ms": 5000, "title": "Cold tea"}
    await told(await ada.patch("/rooms/tea", json={"archived": True}))
    rooms = {room["name"]: room for room in (await told(await ada.get("/rooms")))["rooms"]}
    assert rooms["tea"]["archived"]
    assert set(rooms) == {"public", "tea"}
    assert await error_of(await ada.patch("/rooms/none", json={"locked": True}), 404) == ("not_found", None)


async def test_something_is_said_and_deleted(world: World, ada: httpx2.AsyncClient) -> None:
    said = await told(await ada.post("/rooms/public/messages", json={"text": "hello", "name": "kettle"}), 201)
    found = await world.store.find(said["mid"])
    assert found is not None
    assert (found.message.text, found.message.sender.name) == ("hello", "kettle")
    await told(await ada.delete(f"/rooms/public/messages/{said['mid']}"), 204)
    gone = await ada.delete("/rooms/public/messages/none")
    assert await error_of(gone, 404) == ("not_found", None)


# People


async def test_a_person_is_banned_and_the_ban_is_lifted(ada: httpx2.AsyncClient) -> None:
    made = await told(await ada.post("/bans", json={"person": "p-bo", "reason": "spam", "seconds": 60}), 201)
    (ban,) = made["bans"]
    assert (ban["kind"], ban["subject"], ban["reason"]) == ("person", "p-bo", "spam")
    assert ban["until_ms"] - ban["since_ms"] == 60_000
    assert await told(await ada.get("/bans")) == made
    await told(await ada.delete(f"/bans/{ban['id']}"), 204)
    assert await told(await ada.get("/bans")) == {"bans": []}
    assert await error_of(await ada.delete(f"/bans/{ban['id']}"), 404) == ("not_found", None)


async def test_an_address_is_banned_and_not_shown(ada: httpx2.AsyncClient) -> None:
    answer = await ada.post("/bans", json={"address": "8.8.8.8", "reason": ""})
    (ban,) = (await told(answer, 201))["bans"]
    assert (ban["kind"], ban["until_ms"]) == ("address", None)
    assert "8.8.8.8" not in answer.text
    private = await ada.post("/bans", json={"address": "10.0.0.1", "reason": ""})
    assert await error_of(private, 400) == ("bad_field", "address")


@pytest.mark.parametrize("whom", [{}, {"person": "p-bo", "address": "8.8.8.8"}])
async def test_a_ban_is_of_one_of_the_two(ada: httpx2.AsyncClient, whom: dict[str, str]) -> None:
    assert await error_of(await ada.post("/bans", json={**whom, "reason": ""}), 400) == ("bad_field", "person")


async def test_a_person_is_muted_and_the_mute_is_lifted(ada: httpx2.AsyncClient) -> None:
    mute = await told(await ada.post("/mutes", json={"person": "p-bo", "room": "public", "reason": "loud"}), 201)
    assert (mute["person"], mute["room"], mute["until_ms"]) == ("p-bo", "public", None)
    assert await told(await ada.get("/mutes")) == {"mutes": [mute]}
    await told(await ada.delete(f"/mutes/{mute['id']}"), 204)
    assert await told(await ada.get("/mutes")) == {"mutes": []}


async def test_who_is_not_here_is_not_kicked(ada: httpx2.AsyncClient) -> None:
    assert await told(await ada.post("/kicks", json={"person": "p-bo", "reason": ""})) == {"count": 0}


async def test_who_is_here_is_kicked(world: World, ada: httpx2.AsyncClient) -> None:
    world.here.roles["p-bo"] = "guest"
    assert await told(await ada.post("/kicks", json={"person": "p-bo", "reason": ""})) == {"count": 1}


@pytest.mark.parametrize("path", ["/kicks", "/mutes", "/bans"])
async def test_nobody_acts_on_somebody_of_their_role(world: World, path: str) -> None:
    world.here.roles |= {"p-bo": "moderator", "p-cy": "admin"}
    moderator, admin = await world.signed_in("mo", "moderator"), await world.signed_in("ada")
    for client, person in ((moderator, "p-bo"), (moderator, "p-cy"), (admin, "p-cy")):
        answer = await client.post(path, json={"person": person, "reason": ""})
        assert await error_of(answer, 403) == ("forbidden", None)
    assert (await admin.post(path, json={"person": "p-bo", "reason": ""})).status_code in {200, 201}


# Reports


async def test_a_report_comes_with_what_it_proves(world: World, ada: httpx2.AsyncClient) -> None:
    report = await filed(world.store, KEYRING)
    (short,) = (await told(await ada.get("/reports", params={"state": "open"})))["reports"]
    assert (short["ref"], short["accused"], short["state"], short["decision"]) == (report.ref, "p-bo", "open", None)
    assert "evidence" not in short
    whole = await told(await ada.get(f"/reports/{report.ref}"))
    evidence = whole.pop("evidence")
    assert whole == short
    assert (evidence["whole"], evidence["from_start"], evidence["held"], evidence["reasons"]) == (
        False,
        True,
        False,
        [],
    )
    messages = [(message["word"], message["by"], message["text"]) for message in evidence["messages"]]
    assert messages == [(word, by, text and text.replace("\ud800", "?")) for word, by, text in MESSAGES]
    assert evidence["messages"][0] == {"word": "relayed", "by": "reporter", "mid": "m1", "ts": NOW, "text": "hello"}
    assert await error_of(await ada.get("/reports/none"), 404) == ("not_found", None)


async def test_what_a_rule_found_names_the_rules(world: World, ada: httpx2.AsyncClient) -> None:
    report = await filed(world.store, KEYRING, reporter="", held=True, text="free money", reason="word, link")
    evidence = (await told(await ada.get(f"/reports/{report.ref}")))["evidence"]
    assert (evidence["held"], evidence["sender"], evidence["reasons"]) == (True, "bo", ["word", "link"])
    assert [(message["word"], message["text"]) for message in evidence["messages"]] == [("held", "free money")]


@pytest.mark.parametrize("change", [{"accused": "p-cy"}, {"reason": "threats"}, {"note": "x"}, {"evidence": b"x\ny"}])
async def test_evidence_that_was_changed_is_none(world: World, ada: httpx2.AsyncClient, change: dict[str, Any]) -> None:
    """Also where what stands beside the seal says something else than what is sealed."""
    report = await filed(world.store, KEYRING)
    await world.store.put(replace(report, **change))
    assert (await told(await ada.get(f"/reports/{report.ref}")))["evidence"] is None


async def test_a_report_is_decided_once(world: World, ada: httpx2.AsyncClient) -> None:
    report = await filed(world.store, KEYRING)
    path = f"/reports/{report.ref}/decision"
    decided = await told(await ada.post(path, json={"decision": "mute", "reason": "loud", "seconds": 60}))
    assert (decided["state"], decided["decision"]) == ("decided", "mute")
    assert [mute["person"] for mute in (await told(await ada.get("/mutes")))["mutes"]] == ["p-bo"]
    assert await error_of(await ada.post(path, json={"decision": "dismiss"}), 409) == ("conflict", None)
    assert (await told(await ada.get("/reports", params={"state": "open"})))["reports"] == []
    assert len((await told(await ada.get("/reports")))["reports"]) == 1


# The filter and the audit log


async def test_the_rules_that_are_read_can_be_set_again(ada: httpx2.AsyncClient) -> None:
    rules = await told(await ada.get("/filter"))
    assert rules["openings"] == {"times": 5, "seconds": 600.0, "kind": "refuse"}
    rules |= {"words": {"free money*": "hold"}, "hosts": ["example.org"], "shouting": "flag", "flood": None}
    assert await told(await ada.put("/filter", json=rules)) == rules
    assert await told(await ada.get("/filter")) == rules
    assert await error_of(await ada.put("/filter", json={"words": {"***": "flag"}}), 400) == ("bad_field", "words")


async def test_what_was_done_is_listed_checked_and_taken_back(world: World, ada: httpx2.AsyncClient) -> None:
    await told(await ada.post("/mutes", json={"person": "p-bo", "reason": ""}), 201)
    entries = (await told(await ada.get("/audit")))["entries"]
    assert [entry["action"] for entry in entries] == ["mute", "operator.make"]
    last = entries[0]
    assert (last["subject"], last["actor"]) == ("p-bo", (await told(await ada.get("/me")))["id"])
    assert isinstance(last["details"], dict)
    assert (await told(await ada.get("/audit", params={"before": last["n"], "limit": 1})))["entries"] == entries[1:]
    assert await told(await ada.get("/audit/check")) == {"ok": True, "broken": None}
    await told(await ada.post(f"/audit/{last['n']}/undo", json={}), 204)
    assert await told(await ada.get("/mutes")) == {"mutes": []}
    assert await error_of(await ada.post(f"/audit/{last['n']}/undo"), 409) == ("conflict", None)


# Operators and tokens


async def test_an_operator_is_made_and_changed_and_no_hash_is_shown(ada: httpx2.AsyncClient) -> None:
    body = {"name": "Bo", "password": PASSWORD, "role": "moderator"}
    made = await told(await ada.post("/operators", json=body), 201)
    assert set(made) == {"id", "name", "role", "disabled", "created_ms"}
    assert (made["name"], made["role"], made["disabled"]) == ("bo", "moderator", False)
    assert await error_of(await ada.post("/operators", json=body), 409) == ("conflict", "name")
    changed = await told(await ada.patch(f"/operators/{made['id']}", json={"disabled": True}))
    assert changed == {**made, "disabled": True}
    listed = await ada.get("/operators")
    assert {operator["name"] for operator in (await told(listed))["operators"]} == {"ada", "bo"}
    assert "argon2" not in listed.text
    me = (await told(await ada.get("/me")))["id"].removeprefix("operator:")
    assert await error_of(await ada.patch(f"/operators/{me}", json={"disabled": True}), 409) == ("conflict", None)
    assert await error_of(await ada.patch("/operators/none", json={}), 404) == ("not_found", None)


async def test_a_token_is_shown_once(world: World, ada: httpx2.AsyncClient) -> None:
    made = await told(await ada.post("/tokens", json={"name": "backup", "scopes": ["read"], "seconds": 60}), 201)
    secret = made.pop("token")
    assert (await world.client(bearer(secret)).get("/live")).status_code == 200
    listed = await ada.get("/tokens")
    assert secret not in listed.text
    (known,) = (await told(listed))["tokens"]
    assert known["last_used_ms"] is not None
    assert known == {**made, "last_used_ms": known["last_used_ms"]}
    await told(await ada.delete(f"/tokens/{made['id']}"), 204)
    assert (await world.client(bearer(secret)).get("/live")).status_code == 401


@pytest.mark.parametrize(
    ("scope", "method", "path", "body"),
    [
        ("send", "POST", "/rooms/public/messages", {"text": "hello", "name": "bot"}),
        ("rooms", "POST", "/rooms", {"name": "tea", "title": "Tea"}),
        ("kick", "POST", "/kicks", {"person": "p-bo", "reason": ""}),
        ("moderate", "POST", "/bans", {"person": "p-bo", "reason": ""}),
        ("admin", "PUT", "/filter", {}),
    ],
)
async def test_a_token_does_what_its_scope_says(
    world: World, scope: str, method: str, path: str, body: dict[str, str]
) -> None:
    answer = await world.client(bearer(await world.token(scope))).request(method, path, json=body)
    assert answer.status_code in {200, 201}, answer.text


async def test_the_document_of_the_api_is_complete(world: World) -> None:
    """Every route, field and parameter has words, an answer, and says who may ask."""
    document = await told(await world.client().get("/openapi.json"))
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert operations.keys() == NEEDS.keys()
    for key, operation in operations.items():
        assert operation["description"], key
        assert {"400", "401", "403", "4XX", "503"} <= operation["responses"].keys()
        assert "422" not in operation["responses"]
        needs = NEEDS[key]
        assert operation["security"] == ([] if needs is None else [{"session": []}, {"token": []}])
        assert needs is None or "Needs the role" in operation["description"]
        for parameter in operation.get("parameters", ()):
            assert parameter["description"], key
    assert set(document["components"]["securitySchemes"]) == {"session", "token"}
    for name, shape in document["components"]["schemas"].items():
        assert shape["description"], name


async def test_who_acts_is_in_the_log(world: World) -> None:
    token = await world.token("moderate")
    await told(await world.client(bearer(token)).post("/mutes", json={"person": "p-bo", "reason": ""}), 201)
    await told(await world.cli().post("/mutes", json={"person": "p-cy", "reason": ""}), 201)
    first, second = (entry.actor for entry in await world.store.audited(limit=2))
    assert first == Actor("cli", "admin").id
    assert second.startswith("token:")


async def test_the_page_asks_for_nothing_from_elsewhere(world: World) -> None:
    client = world.client()
    for path, kind in {"/": "text/html", "/admin.js": "text/javascript", "/admin.css": "text/css"}.items():
        answer = await client.get(f"{URL}{path}")
        assert answer.headers["content-type"].startswith(kind)
        policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["require-trusted-types-for"] == "'script'"
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"

"""The operators' page, in a real browser: the link, sign in, reports, decisions, bans."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Thread
from typing import Any, Final, TypeVar

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from parlour import Settings
from parlour.app import Parlour
from parlour.core.records import Ban, Report
from parlour.operators import CLI, Operators
from parlour.store import Store
from parlour.web.admin import COOKIE, Office, admin_app
from tests.raw import DEADLINE
from tests.support import require
from tests.web.office import PASSWORD, Clock, Rooms, filed, operators_of
from tests.web.test_page import CHROMIUM, FLAGS, INJECTIONS, STATIC

T = TypeVar("T")

PHONE: Final = (320, 568)


class Desk:
    """A server with the operators' page at `/admin`, in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self._chat = Parlour(Settings(data=folder))
        self._loop = asyncio.new_event_loop()
        self._office: Rooms | None = None
        self.store: Store
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/admin"
        admin = admin_app(self._chat.settings, on_hub=self.on_hub)
        routes = [Mount("/admin", admin), Mount("/static", StaticFiles(directory=STATIC))]
        app = Starlette(routes=routes, lifespan=self._lifespan)
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none"))
        self._thread = Thread(target=self._loop.run_until_complete, args=[self._server.serve([listener])])
        self._thread.start()
        self._listener = listener

    @asynccontextmanager
    async def _lifespan(self, app: object) -> AsyncIterator[None]:
        async with self._chat.lifespan():
            yield

    async def on_hub(self, work: Callable[[Office], Awaitable[T]], /) -> T:
        async def at(part: Any) -> T:
            await part.ready.wait()
            if self._office is None:
                self.store, self.keyring = part.store, part.keyring
                self._office = Rooms(part.desk, operators_of(part.store, Clock()))
            return await work(self._office)

        return await self._chat.on_hub(at)

    def do(self, work: Callable[[Operators], Coroutine[Any, Any, T]]) -> T:
        """In the server's loop."""

        async def at(office: Office) -> T:
            assert office.operators is not None
            return await work(office.operators)

        return asyncio.run_coroutine_threadsafe(self.on_hub(at), self._loop).result(DEADLINE)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()
        self._loop.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    require(Path(CHROMIUM).exists(), f"there is no Chromium at {CHROMIUM}")
    expect.set_options(timeout=DEADLINE * 1000)
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS) as browser:
        yield browser


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "data")
    yield desk
    desk.stop()


@pytest.fixture
def page(browser: Browser, desk: Desk) -> Iterator[Page]:
    """A page that may have no trouble, but for answers that are no success, which browsers complain about."""
    context = browser.new_context(viewport={"width": PHONE[0], "height": PHONE[1]}, locale="en-GB")
    context.set_default_timeout(DEADLINE * 1000)
    page = context.new_page()
    troubles: list[str] = []
    page.add_init_script(
        "addEventListener('securitypolicyviolation', (e) => console.error('CSP', e.violatedDirective, e.sample))"
    )
    page.on("console", lambda said: troubles.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    yield page
    context.close()
    assert not [trouble for trouble in troubles if "the server responded with a status of 4" not in trouble]


def sign_in(page: Page, desk: Desk, password: str = PASSWORD) -> None:
    page.goto(desk.url)
    form = page.locator("#sign-in")
    form.get_by_label("Name").fill("Ada")
    form.get_by_label("Password").fill(password)
    form.get_by_role("button").click()


@pytest.fixture
def ada(page: Page, desk: Desk) -> Page:
    """An admin, signed in."""
    desk.do(lambda all: all.make_operator(CLI, name="ada", password=PASSWORD, role="admin"))
    sign_in(page, desk)
    expect(page.get_by_role("heading", name="Open reports")).to_be_focused()
    return page


def look(page: Page) -> None:
    page.get_by_role("button", name="Look again").click()


def test_the_link_makes_the_first_admin_and_leaves_the_address(page: Page, desk: Desk) -> None:
    ticket = desk.do(lambda all: all.first_link())
    page.goto(f"{desk.url}#first={ticket}")
    form = page.locator("#first")
    expect(form).to_be_visible()
    assert page.url == f"{desk.url}/"
    assert ticket not in page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}, history.state])")
    form.get_by_label("Name").fill("Ada")
    form.get_by_label("Password").fill("short")
    form.get_by_role("button").click()
    expect(form).to_be_visible()  # the browser says that it is too short
    form.get_by_label("Password").fill(PASSWORD)
    form.get_by_role("button").click()
    expect(page.locator("#me")).to_contain_text("ada (admin)")
    expect(page.get_by_text("No report is open.")).to_be_visible()
    page.reload()
    expect(page.locator("#me")).to_contain_text("ada (admin)")
    page.goto(f"{desk.url}#first={ticket}")
    form.get_by_label("Name").fill("bo")
    form.get_by_label("Password").fill(PASSWORD)
    form.get_by_role("button").click()
    expect(page.get_by_role("alert")).to_contain_text("the link is used")


def test_a_wrong_password_is_told_and_a_right_one_makes_a_session(page: Page, desk: Desk) -> None:
    desk.do(lambda all: all.make_operator(CLI, name="ada", password=PASSWORD, role="moderator"))
    sign_in(page, desk, "wrong password")
    expect(page.get_by_role("alert")).to_contain_text("not the name and password")
    sign_in(page, desk)
    expect(page.locator("#me")).to_contain_text("ada (moderator)")
    (cookie,) = page.context.cookies()
    assert (cookie["name"], cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (COOKIE, True, True, "Strict")
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert page.context.cookies() == []


def test_a_report_shows_what_it_proves_and_is_decided(ada: Page, desk: Desk) -> None:
    report: Report = desk.do(lambda all: filed(desk.store, desk.keyring))
    look(ada)
    reports = ada.locator("#reports")
    reports.locator("summary").click()
    items = reports.locator("ol li")
    expect(items).to_have_text(
        [
            re.compile("the reporter: said, as the server relayed it.*hello", re.DOTALL),
            re.compile("the accused: said, as the server relayed it.*go . away", re.DOTALL),
            re.compile("not what the server relayed.*I am a bad one", re.DOTALL),
            re.compile("kept back by the reporter$"),
        ]
    )
    decision = reports.get_by_label("Decision")
    assert "pass" not in decision.locator("option").evaluate_all("(all) => all.map((one) => one.value)")
    expect(reports.get_by_label("For how long")).to_be_hidden()
    decision.select_option("ban")
    reports.get_by_label("Reason").fill("insults")
    reports.get_by_label("For how long").select_option("7 days")
    reports.get_by_role("button", name="Decide").click()
    expect(ada.get_by_role("status")).to_have_text("The report is decided.")
    expect(ada.get_by_text("No report is open.")).to_be_visible()
    (ban,) = desk.do(lambda all: desk.store.select(Ban))
    assert (ban.subject, ban.reason) == ("p-bo", "insults")
    assert ban.until_ms is not None
    assert ban.until_ms - ban.since_ms == 7 * 86_400_000
    expect(ada.locator("#bans li")).to_contain_text("p-bo")
    assert report.accused == "p-bo"


def test_a_held_message_can_pass(ada: Page, desk: Desk) -> None:
    desk.do(lambda all: filed(desk.store, desk.keyring, reporter="", held=True))
    look(ada)
    reports = ada.locator("#reports")
    reports.locator("summary").click()
    expect(reports.locator("ol li")).to_contain_text("held by a rule")
    reports.get_by_label("Decision").select_option("pass")
    reports.get_by_role("button", name="Decide").click()
    expect(ada.get_by_role("status")).to_have_text("The report is decided.")


def test_a_ban_is_lifted(ada: Page, desk: Desk) -> None:
    async def ban(operators: Operators) -> None:
        assert desk._office is not None
        await desk._office.desk.ban(CLI, person="p-bo", reason="spam", seconds=None)

    desk.do(ban)
    look(ada)
    ada.get_by_role("button", name="Lift the ban of p-bo").click()
    expect(ada.get_by_text("Nobody is banned.")).to_be_visible()
    expect(ada.get_by_role("heading", name="Bans")).to_be_focused()


def test_a_session_that_is_over_leads_to_the_door(ada: Page, desk: Desk) -> None:
    async def end(operators: Operators) -> None:
        (operator,) = await operators.operators()
        await operators.change_operator(CLI, operator.id, password="another password")

    desk.do(end)
    look(ada)
    expect(ada.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(ada.locator("#reports")).to_be_hidden()


def test_what_people_write_is_text(ada: Page, desk: Desk) -> None:
    """Nothing of it becomes markup, in a list or in a report."""

    async def file(operators: Operators) -> None:
        for number, words in enumerate(INJECTIONS):
            reason = words[:200]
            await filed(desk.store, desk.keyring, ref=f"ref{number}", text=words, reason=reason, note=words)

    desk.do(file)
    look(ada)
    summaries = ada.locator("#reports summary")
    expect(summaries).to_have_count(len(INJECTIONS))
    for number in range(len(INJECTIONS)):
        summaries.nth(number).click()
    expect(ada.locator("#reports form")).to_have_count(len(INJECTIONS))
    for words in INJECTIONS:
        expect(ada.locator("#reports .text").get_by_text(words, exact=True)).to_have_count(
            2
        )  # the note, and the message
    assert ada.title() == "Parlour: the desk"
    assert ada.locator("script, img, svg, iframe, a, style, h1, math").count() == 2  # the page's own
    width = ada.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE[0]


def test_the_files_are_few_and_small() -> None:
    assert sum(len(file.read_bytes()) for file in STATIC.glob("admin.*")) < 16 * 1024

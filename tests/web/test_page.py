"""The page, in a real browser against a real server.

Chromium is the one of the system: `$CHROMIUM`, else /usr/bin/chromium. Time-outs are skipped over by a clock in the
page, never waited for.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, ViewportSize, WebSocketRoute, expect, sync_playwright
from playwright.sync_api import Error as BrowserError

from tests.raw import DEADLINE
from tests.servers import Server, serving, uvicorn
from tests.support import require

STATIC: Final = Path(__file__).parents[2] / "src" / "parlour" / "web" / "static"

CHROMIUM: Final = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

PHONE: Final = (390, 844)
SMALL: Final = (320, 568)
WIDE: Final = (1280, 800)

INJECTIONS: Final = [
    "<script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "<svg onload=\"document.title='owned'\"><circle r=9></svg>",
    "<iframe src=\"javascript:parent.document.title='owned'\"></iframe>",
    "<a href=\"javascript:document.title='owned'\">tap</a>",
    "javascript:document.title='owned'",
    "<style>*{display:none}</style>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=document.title='owned'>",
    "{{7*7}} ${7*7} &lt;b&gt; &#60;i&#62;",
    "</li></ol></div><h1>owned</h1>",
    "https://example.com/ and mailto:a@example.com",
]


class Visitor:
    """Somebody with the page open in a browser of their own.

    `troubles` are the page's errors, what the CSP refused, and what was asked of anywhere but the server; those in
    which the pattern `expected` is found do not count.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.origin = ""
        self.expected = ""
        self.troubles: list[str] = []
        page.add_init_script(
            "addEventListener('securitypolicyviolation', (e) => console.error('CSP', e.violatedDirective, e.sample))"
        )
        page.on("console", lambda said: self.troubles.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("request", lambda request: self._asked(request.url))
        page.on("websocket", lambda socket: self._asked(socket.url))

    def open(self, url: str) -> "Visitor":
        """Open the page of the server at `url`, and wait until it is in the public room."""
        self.origin = re.sub(r"^http", "", url)
        self.page.goto(url)
        self.room().opened()
        return self

    def leave(self) -> None:
        """Close the page; its tab can be used again."""
        if self.page.url != "about:blank":
            self.page.evaluate("try { sessionStorage.clear() } catch {}")
            self.page.goto("about:blank")

    def unexpected(self) -> list[str]:
        """Its troubles, which are forgotten with this."""
        troubles = [one for one in self.troubles if not self.expected or not re.search(self.expected, one)]
        self.expected = ""
        self.troubles.clear()
        return troubles

    def _asked(self, url: str) -> None:
        if not re.sub(r"^(http|ws)", "", url).startswith(self.origin):
            self.troubles.append(f"asked {url}")

    def room(self, name: str = "public") -> "Room":
        return Room(self.page.locator(f"#{name}"))

    @property
    def name(self) -> str:
        return self.page.get_by_label("Your name").input_value()

    def rename(self, name: str) -> None:
        box = self.page.get_by_label("Your name")
        box.fill(name)
        box.press("Enter")

    def start(self) -> "Room":
        """Take a seat in a booth."""
        room = self.room("private")
        room.root.get_by_role("button", name="Start").click()
        return room.opened()


class Room:
    """One of the two rooms as it stands on the page."""

    def __init__(self, root: Locator) -> None:
        self.root = root
        self.lines = root.locator("ol > li.line")
        self.notes = root.locator("ol > li.note")
        self.state = root.get_by_role("status")
        self.box = root.get_by_role("textbox")

    def opened(self) -> "Room":
        expect(self.root).to_have_attribute("data-state", "open")
        return self

    def say(self, text: str) -> None:
        self.box.fill(text)
        self.root.get_by_role("button", name="Send").click()

    def line(self, text: str) -> Locator:
        """The line that says exactly this."""
        return self.lines.filter(has=self.root.page.locator(".text").get_by_text(text, exact=True))

    def hears(self, name: str, text: str) -> None:
        expect(self.line(text).locator(".who b")).to_have_text(name)
        expect(self.line(text)).to_have_class(re.compile(r"^line( same| mine)*$"))


Visit = Callable[..., Visitor]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    require(Path(CHROMIUM).exists(), f"there is no browser at {CHROMIUM}: apt install chromium, or set CHROMIUM")
    expect.set_options(timeout=DEADLINE * 1000)
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS) as browser:
        yield browser


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def empty(browser: Browser, server: Server) -> Iterator[Callable[[], None]]:
    """Waits until nobody is connected: who leaves is seated a moment longer, and might meet somebody."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(server.url + "/about.json")

        def empty() -> None:
            page.wait_for_function(
                "async () => (await (await fetch('about.json')).json()).people === 0",
                timeout=DEADLINE * 1000,
                polling=50,
            )

        yield empty


@pytest.fixture(scope="module")
def tabs() -> dict[object, list[Visitor]]:
    """Tabs that were left, to be used again: making one takes longer than most tests."""
    return {}


@pytest.fixture
def visit(
    browser: Browser, server: Server, empty: Callable[[], None], tabs: dict[object, list[Visitor]]
) -> Iterator[Visit]:
    """Opens the page for one more visitor; at the end nobody may have had any trouble that was not taken away."""
    visitors: list[tuple[object, Visitor]] = []

    def visit(
        url: str = server.url + "/",
        size: tuple[int, int] = WIDE,
        *,
        touch: bool = False,
        prepare: Callable[[Page], None] | None = None,
    ) -> Visitor:
        kind = (size, touch) if prepare is None else None
        if tabs.get(kind):
            visitor = tabs[kind].pop()
        else:
            viewport: ViewportSize = {"width": size[0], "height": size[1]}
            context = browser.new_context(viewport=viewport, has_touch=touch, is_mobile=touch, locale="en-GB")
            context.set_default_timeout(DEADLINE * 1000)
            visitor = Visitor(context.new_page())
            if prepare is not None:
                prepare(visitor.page)
        visitors.append((kind, visitor))
        return visitor.open(url)

    yield visit
    troubles = []
    for kind, visitor in visitors:
        visitor.leave()
        troubles += visitor.unexpected()
        if kind is None:
            visitor.page.context.close()
        else:
            tabs.setdefault(kind, []).append(visitor)
    assert not troubles
    empty()


@pytest.fixture
def ada(visit: Visit) -> Visitor:
    return visit()


@pytest.fixture
def bo(visit: Visit) -> Visitor:
    return visit()


def stop_time(page: Page) -> None:
    """From now on only the test moves the page's clock."""
    page.clock.install(time=0)
    page.clock.pause_at(1000)


def outsider(page: Page, room: str, lines: list[tuple[str, str]]) -> None:
    """Somebody without the page says these lines, (name, text), as they are."""
    page.evaluate(
        """([room, lines]) => new Promise((done) => {
            const socket = new WebSocket(new URL(`chat/${room}`, location.href.replace("http", "ws")));
            let due = lines.length;
            socket.onopen = () => lines.forEach((line) => socket.send(line));
            socket.onmessage = () => --due || (socket.close(), done());
        })""",
        [room, [json.dumps({"username": name, "message": text}) for name, text in lines]],
    )


def test_two_people_talk_in_public(ada: Visitor, bo: Visitor) -> None:
    """Each has a name at once, and reads what both say; one's own line is confirmed by its echo; lines of one author
    are grouped."""
    assert re.fullmatch(r"[A-Z]\w+ [A-Z]\w+", ada.name)
    ada.rename("Ada")
    bo.rename("Bo")
    ada.room().say("hello")
    bo.room().hears("Ada", "hello")
    ada.room().hears("Ada", "hello")
    expect(ada.room().line("hello")).to_have_class(re.compile("mine"))
    ada.room().say("anyone?")
    bo.room().hears("Ada", "anyone?")
    bo.room().say("hello yourself")
    ada.room().hears("Bo", "hello yourself")
    expect(bo.room().lines).to_have_class([re.compile("^line$"), re.compile("same"), re.compile("mine$")])
    time = ada.room().line("hello yourself").locator("time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", time.get_attribute("datetime") or "")
    assert time.get_attribute("title")


def test_enter_sends_and_shift_enter_breaks_the_line(ada: Visitor, bo: Visitor) -> None:
    """No Enter that an input method takes does. The server makes a space of the break, and the page knows its own line
    all the same."""
    box = ada.room().box
    box.press_sequentially("first")
    box.press("Shift+Enter")
    box.press_sequentially("second")
    box.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    box.dispatch_event("keydown", {"key": "Enter", "keyCode": 229})
    expect(box).to_have_value("first\nsecond")
    expect(ada.room().lines).to_have_count(0)
    box.press("Enter")
    expect(box).to_have_value("")
    bo.room().hears(ada.name, "first second")
    ada.room().hears(ada.name, "first second")


def test_on_touch_only_the_button_sends(visit: Visit, ada: Visitor) -> None:
    phone = visit(size=PHONE, touch=True)
    phone.room().box.fill("one")
    phone.room().box.press("Enter")
    expect(phone.room().box).to_have_value("one\n")
    phone.room().root.get_by_role("button", name="Send").tap()
    ada.room().hears(phone.name, "one")


def test_a_name_is_kept_for_the_tab_and_can_be_drawn_anew(ada: Visitor) -> None:
    ada.rename("  ! Ada> of\u2028Parlour ")
    assert ada.name == "Ada>of Parlour"
    ada.page.reload()
    ada.room().opened()
    assert ada.name == "Ada>of Parlour"
    ada.page.get_by_role("button", name="Another name").click()
    expect(ada.page.get_by_label("Your name")).to_have_value(re.compile(r"^[A-Z]\w+ [A-Z]\w+$"))
    ada.rename("   ")
    assert re.fullmatch(r"[A-Z]\w+ [A-Z]\w+", ada.name)


def test_without_storage_the_page_works(visit: Visit) -> None:
    script = "Object.defineProperty(window, 'sessionStorage', {get() { throw new Error('forbidden') }})"
    visitor = visit(prepare=lambda page: page.add_init_script(script))
    visitor.room().say("hello")
    visitor.room().hears(visitor.name, "hello")


def test_two_strangers_meet_in_a_booth(ada: Visitor, bo: Visitor) -> None:
    """The page says what it can't know, and a booth's words stay in it."""
    hers = ada.start()
    expect(hers.state).to_have_text("You are in a booth. When a stranger comes in you will see their words.")
    his = bo.start()
    hers.say("anyone?")
    his.hears(ada.name, "anyone?")
    his.say("yes")
    hers.hears(bo.name, "yes")
    expect(hers.state).to_contain_text("can’t see if they leave")
    expect(ada.room().lines).to_have_count(0)


def test_next_and_leave(ada: Visitor, bo: Visitor, visit: Visit) -> None:
    """Next goes to another booth, Leave to none; what was said stays readable."""
    hers, his = ada.start(), bo.start()
    his.say("hi")
    hers.hears(bo.name, "hi")
    his.root.get_by_role("button", name="Leave").click()
    expect(his.notes).to_have_text(["You left the booth."])
    expect(his.box).to_be_hidden()
    expect(his.line("hi")).to_be_visible()
    hers.root.get_by_role("button", name="Next").click()
    expect(hers.notes).to_have_text(["You left for the next free seat, maybe in the same booth."])
    cy = visit()
    theirs = cy.start()
    hers.opened().say("who is it?")
    theirs.hears(ada.name, "who is it?")
    expect(his.line("who is it?")).to_have_count(0)


@pytest.mark.parametrize("room", ["public", "private"])
def test_nothing_said_becomes_an_element(ada: Visitor, bo: Visitor, room: str) -> None:
    """Names and messages of any kind are text; the visitors' fixture holds that no error and no CSP report came."""
    if room == "private":
        ada.start()
    count = "document.querySelectorAll('*').length - document.querySelectorAll('ol *').length"
    before = ada.page.evaluate(count)
    # A name holds 64 characters at most, and no "> ".
    outsider(bo.page, room, [(text.replace("> ", ">")[:64], text) for text in INJECTIONS])
    for text in INJECTIONS:
        expect(ada.room(room).lines.locator(".text").get_by_text(text, exact=True)).to_be_visible()
    found = ada.page.evaluate("[...new Set([...document.querySelectorAll('ol *')].map((e) => e.localName))].sort()")
    assert found == ["b", "li", "p", "time"]
    assert ada.page.evaluate(count) == before
    assert ada.page.title() == "Parlour"


def test_no_script_of_the_page_can_make_elements_of_text(ada: Visitor) -> None:
    """Trusted Types refuse it, and nothing in the folder tries."""
    ada.expected = "TrustedHTML|require-trusted-types-for"
    with pytest.raises(BrowserError, match="TrustedHTML"):
        ada.page.evaluate("document.body.innerHTML = '<b>x</b>'")
    for file in STATIC.glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", file.read_text())


def test_a_refused_line_says_why_and_can_be_sent_again(ada: Visitor, bo: Visitor) -> None:
    ada.rename("a\u202eb")
    room = ada.room()
    room.say("hello")
    expect(room.line("hello").locator(".foot p")).to_have_text(re.compile("^Not said: the name contains invisible"))
    ada.rename("Ada")
    room.line("hello").get_by_role("button", name="Retry").click()
    bo.room().hears("Ada", "hello")
    room.hears("Ada", "hello")
    expect(room.lines).to_have_count(1)


def test_a_text_that_is_too_long_stays_in_the_box(ada: Visitor) -> None:
    room = ada.room()
    room.say("x" * 10_001)
    expect(room.state).to_have_text("Too long: 10001 of 10000 characters. Shorten it.")
    room.say("x" * 10_000)
    room.hears(ada.name, "x" * 10_000)
    expect(room.state).to_have_text("")


def test_a_close_for_good_shows_the_reason_and_does_not_come_back(ada: Visitor) -> None:
    room = ada.room()
    ada.rename("a\u202eb")
    for number in range(10):
        room.say(f"line {number}")
        expect(room.line(f"line {number}").locator(".foot")).to_be_visible()
    expect(room.state).to_have_text("The server ended this connection: too many errors (4510).")
    expect(room.root).to_have_attribute("data-state", "ended")
    ada.rename("Ada")
    room.root.get_by_role("button", name="Try again").click()
    room.opened().say("sorry")
    room.hears("Ada", "sorry")


def test_restart_on_the_same_port(visit: Visit) -> None:
    """The page comes back by itself, what was typed is still there, and what was not confirmed can be sent again."""
    with serving() as first:
        port = first.url.rpartition(":")[2]
        ada = visit(first.url + "/", prepare=stop_time)
        booth = ada.start()
        ada.room().box.fill("my draft")
        ada.expected = "net::ERR_CONNECTION_"
        first.process.kill()
        first.exited()
        for room in (ada.room(), booth):
            expect(room.root).to_have_attribute("data-state", "lost")
        ada.page.clock.fast_forward(4_999)
        expect(ada.room().state).to_have_text("")
        ada.page.clock.fast_forward(1)
        expect(ada.room().state).to_have_text("Not connected. Trying again; what you typed is kept.")
        expect(booth.notes).to_have_text([re.compile("another stranger")])
        ada.room().root.get_by_role("button", name="Send").click()
        expect(ada.room().box).to_have_value("my draft")
        with serving("--port", port):
            ada.page.clock.fast_forward(30_000)
            ada.room().opened()
            booth.opened()
            expect(ada.room().state).to_have_text("")
            expect(ada.room().notes).to_have_text([re.compile("^Back. This page can’t know")])
            expect(ada.room().box).to_have_value("my draft")
            ada.room().root.get_by_role("button", name="Send").click()
            ada.room().hears(ada.name, "my draft")
            ada.leave()


class Wires:
    """Stands between a page and the server. While `holding`, nothing that the page says gets through."""

    def __init__(self) -> None:
        self.holding = False
        self.opened = 0  # WebSockets so far

    def watch(self, page: Page) -> None:
        page.route_web_socket(re.compile("chat/"), self._join)

    def _join(self, socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        self.opened += 1
        socket.on_message(lambda text: None if self.holding else server.send(text))


def test_an_unconfirmed_line_can_be_retried_or_deleted(visit: Visit) -> None:
    """After 10 s without any sign of the server the connection is taken for dead."""
    wires = Wires()

    def prepare(page: Page) -> None:
        stop_time(page)
        wires.watch(page)

    ada = visit(prepare=prepare)
    room = ada.room()
    wires.holding = True
    for text in ("one", "two"):
        room.say(text)
        expect(room.line(text)).to_have_class(re.compile("pending"))
    ada.page.clock.fast_forward(9_999)
    expect(room.root.locator(".failed")).to_have_count(0)
    ada.page.clock.fast_forward(1)
    for text in ("one", "two"):
        expect(room.line(text).locator(".foot p")).to_have_text("Not confirmed: it may not have arrived.")
    wires.holding = False
    ada.page.clock.fast_forward(30_000)
    expect(room.notes).to_have_count(1)
    assert wires.opened == 2
    room.line("one").get_by_role("button", name="Delete").click()
    room.line("two").get_by_role("button", name="Retry").click()
    room.hears(ada.name, "two")
    expect(room.lines).to_have_count(1)
    expect(room.box).to_be_focused()


def test_words_for_a_stranger_who_is_gone_go_back_into_the_box(visit: Visit) -> None:
    wires = Wires()
    ada = visit(prepare=wires.watch)
    booth = ada.start()
    wires.holding = True
    booth.say("only for you")
    booth.root.get_by_role("button", name="Next").click()
    wires.holding = False
    booth.opened()
    booth.line("only for you").get_by_role("button", name="Retry").click()
    expect(booth.box).to_have_value("only for you")
    expect(booth.lines).to_have_count(0)


def test_what_comes_while_scrolled_up_is_announced(ada: Visitor, bo: Visitor) -> None:
    """Who reads further up than 100 px stays there; and no more than 500 lines stay on the page."""
    room, more = ada.room(), ada.room().root.locator(".more")
    outsider(bo.page, "public", [("cy", f"line {number}") for number in range(520)])
    expect(room.line("line 519")).to_be_in_viewport()
    expect(room.root.locator("ol > li")).to_have_count(500)
    expect(room.line("line 19")).to_have_count(0)
    log = room.root.get_by_role("log")
    log.evaluate("(log) => { log.scrollTop -= 60 }")
    outsider(bo.page, "public", [("cy", "near")])
    expect(room.line("near")).to_be_in_viewport()
    log.evaluate("(log) => { log.scrollTop -= 600 }")
    outsider(bo.page, "public", [("cy", f"far {number}") for number in range(3)])
    expect(more).to_have_text("3 new messages")
    expect(room.line("far 0")).not_to_be_in_viewport()
    more.click()
    expect(more).to_be_hidden()
    expect(room.line("far 2")).to_be_in_viewport()


def test_phones_show_one_room_and_count_the_other(visit: Visit, ada: Visitor) -> None:
    phone = visit(size=PHONE, touch=True)
    private = phone.page.get_by_role("button", name="Private")
    private.tap()
    expect(phone.room("public").root).to_be_hidden()
    expect(private).to_have_attribute("aria-pressed", "true")
    ada.room().say("hello")
    ada.room().say("anyone?")
    public = phone.page.get_by_role("button", name="Public")
    expect(public).to_have_text("Public (2)")
    public.tap()
    expect(public).to_have_text("Public")
    expect(phone.room("private").root).to_be_hidden()


def test_unread_lines_are_counted_in_the_title(ada: Visitor, bo: Visitor) -> None:
    ada.page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    bo.room().say("hello")
    expect(ada.page).to_have_title("(1) Parlour")
    ada.page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    expect(ada.page).to_have_title("Parlour")


@pytest.mark.parametrize("font", ["100%", "200%"])
def test_a_small_screen_needs_no_sideways_scrolling(visit: Visit, ada: Visitor, font: str) -> None:
    phone = visit(size=SMALL, touch=True)
    phone.page.evaluate("(size) => { document.documentElement.style.fontSize = size }", font)
    outsider(ada.page, "public", [("W" * 64, "M" * 300), ("cy", "word " * 60)])
    expect(phone.room().lines).to_have_count(2)
    fits = """[document.documentElement, ...document.querySelectorAll(".log, .bar")]
        .every((element) => element.scrollWidth <= element.clientWidth)"""
    assert phone.page.evaluate(fits)
    phone.page.get_by_role("button", name="Private").tap()
    phone.start()
    assert phone.page.evaluate(fits)


def test_everything_to_tap_is_large_and_no_text_is_small(visit: Visit, ada: Visitor) -> None:
    phone = visit(size=PHONE, touch=True)
    outsider(ada.page, "public", [("cy", "hello")])
    expect(phone.room().lines).to_have_count(1)
    sizes = phone.page.evaluate(
        """[...document.querySelectorAll("button, input, textarea")].map((e) => e.getBoundingClientRect())
            .filter((box) => box.width).flatMap((box) => [box.width, box.height])"""
    )
    assert min(sizes) >= 44
    fonts = "[...document.querySelectorAll('body *')].map((e) => parseFloat(getComputedStyle(e).fontSize))"
    assert min(phone.page.evaluate(fonts)) >= 16


def test_the_log_and_the_connection_are_announced_apart(ada: Visitor) -> None:
    for name in ("Public room", "Private booth"):
        log = ada.page.get_by_role("log", name=name)
        expect(log).to_have_attribute("tabindex", "0")
        expect(log.get_by_role("status")).to_have_count(0)
    expect(ada.page.get_by_role("status")).to_have_count(2)


def test_title_and_booths_are_the_operators(visit: Visit) -> None:
    with serving("--title", "The <Nook>", "--booths", "off") as server:
        visitor = visit(server.url + "/", PHONE)
        expect(visitor.page).to_have_title("The <Nook>")
        expect(visitor.page.get_by_role("heading", level=1)).to_have_text("The <Nook>")
        expect(visitor.page.get_by_role("button", name="Private")).to_be_hidden()
        expect(visitor.room("private").root).to_be_hidden()
        visitor.room().say("hello")
        visitor.room().hears(visitor.name, "hello")
        visitor.leave()


@pytest.mark.parametrize("answer", ["", '{"title": 7, "booths": "no", "people": "many"}'])
def test_the_page_does_without_what_the_server_says_about_itself(visit: Visit, answer: str) -> None:
    def fulfill(route: Route) -> None:
        route.fulfill(status=200 if answer else 404, body=answer)

    visitor = visit(prepare=lambda page: page.route("**/about.json", fulfill))
    visitor.expected = "404"
    visitor.room().say("hello")
    visitor.room().hears(visitor.name, "hello")
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("7" if answer else "Parlour")


HOST = """
from fastapi import FastAPI
from parlour import Parlour, Person

app = FastAPI()
app.mount("/talk", Parlour(authenticate=lambda connection: Person("1", "Ada of the Host")))
"""


def test_mounted_where_the_host_app_knows_its_users(visit: Visit, tmp_path: Path) -> None:
    """On a sub-path every address is relative; and a name that the server puts in place of ours is still ours."""
    (tmp_path / "host.py").write_text(HOST)
    with uvicorn(app="host:app", path=(tmp_path,)) as server:
        visitor = visit(server.url + "/talk/")
        for text in ("hello", "again"):
            visitor.room().say(text)
            visitor.room().hears("Ada of the Host", text)
        expect(visitor.room().lines).to_have_class([re.compile("^line mine$"), re.compile("same")])
        assert visitor.name == "Ada of the Host"
        visitor.leave()


def test_the_files_are_few_and_small() -> None:
    """Those of the chat; the operators' page has its own."""
    files = [file for file in STATIC.iterdir() if not file.name.startswith("admin.")]
    assert sum(len(file.read_bytes()) for file in files) < 25 * 1024

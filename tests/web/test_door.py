"""Who may open a WebSocket: faults 32 (Origin) and 33 (who stands behind a proxy), and how many from one address."""

import ipaddress
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from parlour.settings import DEFAULT_PER_ADDRESS, DEFAULT_RATE, Settings
from parlour.web.door import Denial, Door, Peer, Visit, offered_subprotocols

INTERNET = Peer("203.0.113.7", is_local=False)


def headers(*pairs: tuple[str, str]) -> Headers:
    return Headers(raw=[(name.encode(), value.encode("latin-1")) for name, value in pairs])


def door(has_login: bool = False, **settings: Any) -> Door:
    return Door(Settings(**settings), has_login=has_login)


# Origin


def is_welcome(page: str, host: str, scheme: str = "ws", **settings: Any) -> bool:
    """Whether a page of this origin may."""
    return door(**settings).check_origin(scheme, headers(("host", host), ("origin", page))) is None


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        ("http://chat.example", "chat.example", "ws"),
        ("http://chat.example", "chat.example:80", "ws"),
        ("http://chat.example:80", "chat.example", "ws"),
        ("http://chat.example:8000", "chat.example:8000", "ws"),
        ("https://chat.example", "chat.example", "wss"),
        ("https://chat.example", "chat.example:443", "wss"),
        ("HTTPS://Chat.Example", "chat.EXAMPLE", "wss"),
        ("http://203.0.113.7:8000", "203.0.113.7:8000", "ws"),
        ("http://[2001:db8::1]:8000", "[2001:db8::1]:8000", "ws"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", "ws"),
    ],
)
def test_a_page_of_the_same_origin_may(origin: str, host: str, scheme: str) -> None:
    """RFC 6454: scheme, name and port; the scheme's own port may be left out."""
    assert is_welcome(origin, host, scheme)


FOREIGN = [
    "http://evil.example",
    "https://chat.example",  # another scheme
    "http://chat.example:8000",  # another port
    "http://chat.example:443",
    "http://chat.example.evil.example",
    "http://evil-chat.example",
    "http://evilchat.example",
    "http://sub.chat.example",
    "http://chat.example.",
    "http://chat.example@evil.example",
    "http://evil.example@chat.example",
    "http://user:password@chat.example",
    "http://evil.example#chat.example",
    "http://evil.example/chat.example",
    "http://chat.example/",
    "http://chat.example/path",
    "http://chat.example?query",
    "http://chat.example evil.example",
    "http://evil.example http://chat.example",
    "http://chat.example,http://evil.example",
    "http://chat.example:80:80",
    "http://chat.example:99999",
    "http://chat.example:x",
    "http://chat.example:8０",
    "http://",
    "http://:80",
    "http:chat.example",
    "//chat.example",
    "chat.example",
    "ws://chat.example",
    "ftp://chat.example",
    "file://",
    "file:///srv/ada/page.html",
    "chrome-extension://abcdefgh",
    "javascript:alert(1)",
    "null",
    "NULL",
    "",
    " ",
    "*",
    "http://*",
    "http://[::1",
    "http://[chat.example]",
    "http://cһat.example",  # a Cyrillic letter
    "http://chat.example\x00",
    "http://localhost",  # a page on the visitor's own machine, and we are not there
    "http://127.0.0.1",
]


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("settings", [{}, {"url": "http://chat.example/talk"}, {"origin": ["http://chat.example"]}])
def test_a_foreign_page_may_not(origin: str, settings: dict[str, Any]) -> None:
    assert not is_welcome(origin.encode().decode("latin-1"), "chat.example", **settings)


def test_two_origins_are_none() -> None:
    twice = headers(("host", "chat.example"), ("origin", "http://chat.example"), ("origin", "http://evil.example"))
    assert isinstance(door().check_origin("ws", twice), Denial)
    same = headers(("host", "chat.example"), ("origin", "http://chat.example"), ("origin", "http://chat.example"))
    assert isinstance(door().check_origin("ws", same), Denial)


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "127.8.8.8", "chat.localhost"])
@pytest.mark.parametrize(
    "origin",
    ["http://localhost:3000", "https://localhost", "http://127.0.0.1:5173", "http://[::1]", "http://a.localhost"],
)
def test_developers_pages_may_come_from_another_port(host: str, origin: str) -> None:
    """Both are on this machine, by names that nobody else can have (RFC 6761 6.3)."""
    assert is_welcome(origin, host)


@pytest.mark.parametrize(
    "origin",
    ["http://localhost.evil.example", "http://notlocalhost", "http://127.0.0.1.evil.example", "http://0.0.0.0", "null"],
)
@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000"])
def test_what_only_looks_like_this_machine_may_not(host: str, origin: str) -> None:
    assert not is_welcome(origin, host)


def test_a_name_that_was_pointed_at_this_machine_does_not_help() -> None:
    """DNS rebinding: the page's own name leads to 127.0.0.1 now, but its Host says which."""
    assert not is_welcome("http://localhost:8000", "evil.example:8000")
    assert is_welcome("http://evil.example:8000", "evil.example:8000")
    assert not is_welcome("http://evil.example:8000", "evil.example:8000", url="https://chat.example")


def test_the_public_url_is_the_origin() -> None:
    """With it, whatever Host says does not count."""
    for host in ("chat.example", "10.0.0.5:8000", "", "evil.example"):
        assert is_welcome("https://chat.example", host, url="https://chat.example/talk")
        assert not is_welcome("http://chat.example", host, url="https://chat.example/talk")
        assert not is_welcome(f"http://{host}", host, url="https://chat.example/talk")
    assert is_welcome("https://chat.example:8443", "x", url="https://chat.example:8443")
    assert not is_welcome("https://chat.example", "x", url="https://chat.example:8443")
    assert is_welcome("https://xn--bcher-kva.example", "x", url="https://bücher.example")


def test_other_sites_can_be_named() -> None:
    settings: dict[str, Any] = {"origin": ["https://a.example", "http://b.example:8080"]}
    for origin in ("https://a.example", "https://a.example:443", "http://b.example:8080", "http://chat.example"):
        assert is_welcome(origin, "chat.example", **settings)
    for origin in ("http://a.example", "https://b.example", "http://b.example", "https://sub.a.example"):
        assert not is_welcome(origin, "chat.example", **settings)


def test_behind_a_proxy_that_ends_tls() -> None:
    """The page is https, the proxy speaks http to us; only a trusted one is believed."""
    page = headers(("host", "chat.example"), ("origin", "https://chat.example"), ("x-forwarded-proto", "https"))
    assert door(trusted_hops=1).check_origin("ws", page) is None
    assert isinstance(door().check_origin("ws", page), Denial)


def test_no_origin_is_no_browser() -> None:
    """Welcome, but not where a cookie would say who it is: then a browser could be made to leave it out."""
    assert door().check_origin("ws", headers(("host", "chat.example"))) is None
    assert door().check_origin("ws", headers(("host", "chat.example"), ("cookie", "a=b"))) is None
    assert door(has_login=True).check_origin("ws", headers(("host", "chat.example"))) is None
    denial = door(has_login=True).check_origin("ws", headers(("host", "chat.example"), ("cookie", "a=b")))
    assert denial is not None
    assert denial.status == 403


def test_a_refusal_tells_the_operator_and_not_the_page() -> None:
    """The flag that fixes it is for the log; neither holds what was sent."""
    denial = door().check_origin("ws", headers(("host", "chat.example"), ("origin", "http://canary.example")))
    assert denial is not None
    assert "--origin" in (denial.hint or "")
    assert "--origin" not in denial.words
    assert "canary" not in f"{denial}"


@given(st.text(max_size=60))
def test_no_origin_makes_it_stumble(origin: str) -> None:
    """Whatever comes is judged, and what is welcome is the server's own or on this machine."""
    raw = origin.encode("utf-8", "surrogatepass").decode("latin-1")
    assert is_welcome(raw, "chat.example") <= (raw.lower().rstrip(":80") == "http://chat.example")


@given(st.text(max_size=40))
def test_no_host_makes_it_stumble(host: str) -> None:
    raw = host.encode("utf-8", "surrogatepass").decode("latin-1")
    door().check_origin("ws", headers(("host", raw), ("origin", "http://chat.example")))


# Who it is


@pytest.mark.parametrize(
    ("hops", "forwarded", "expected"),
    [
        (0, ["1.1.1.1"], "10.0.0.5"),
        (1, [], "10.0.0.5"),
        (1, ["1.1.1.1"], "1.1.1.1"),
        (1, ["6.6.6.6, 1.1.1.1"], "1.1.1.1"),
        (1, ["6.6.6.6", "1.1.1.1"], "1.1.1.1"),
        (1, ["6.6.6.6,6.6.6.7 ,\t1.1.1.1 "], "1.1.1.1"),
        (2, ["6.6.6.6, 1.1.1.1, 10.0.0.6"], "1.1.1.1"),
        (2, ["6.6.6.6", "1.1.1.1, 10.0.0.6"], "1.1.1.1"),
        (2, ["6.6.6.6, 1.1.1.1", "10.0.0.6"], "1.1.1.1"),
        (2, ["1.1.1.1"], "1.1.1.1"),
        (10, ["6.6.6.6, 1.1.1.1"], "6.6.6.6"),
        (1, ["1.1.1.1:5678"], "1.1.1.1"),
        (1, ["[2001:db8::1]:5678"], "2001:db8::/64"),
        (1, ["2001:db8::1"], "2001:db8::/64"),
        (1, ["::ffff:1.1.1.1"], "1.1.1.1"),
        (1, ["6.6.6.6, nonsense"], "10.0.0.5"),
        (1, ["6.6.6.6, "], "10.0.0.5"),
        (1, ["6.6.6.6, unknown"], "10.0.0.5"),
        (1, [""], "10.0.0.5"),
        (1, ["0x7f.1"], "10.0.0.5"),
        (1, ["127.1"], "10.0.0.5"),
        (1, ["6.6.6.6, " + "1" * 10_000], "10.0.0.5"),
    ],
)
def test_33_the_client_behind_trusted_proxies(hops: int, forwarded: list[str], expected: str) -> None:
    """Counted from the right; what stands further left came from the client."""
    lines = headers(*(("x-forwarded-for", value) for value in forwarded))
    peer = door(trusted_hops=hops).peer("10.0.0.5", lines)
    assert peer == Peer(expected, is_local=False)


@given(st.lists(st.text(st.characters(codec="latin-1"), max_size=20), max_size=4), st.integers(0, 3))
def test_33_nobody_can_pretend_from_the_left(lines: list[str], hops: int) -> None:
    """Whatever a client writes, behind it stands what the trusted proxy saw."""
    sent = [("x-forwarded-for", line) for line in lines]
    seen = [("x-forwarded-for", "1.1.1.1")] + [("x-forwarded-for", "10.0.0.6")] * (hops - 1) if hops else []
    assert door(trusted_hops=hops).peer("10.0.0.5", headers(*sent, *seen)).address == (
        "1.1.1.1" if hops else "10.0.0.5"
    )


@pytest.mark.parametrize(
    "name", ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "forwarded", "via"]
)
@pytest.mark.parametrize("hops", [0, 1])
def test_33_whoever_comes_through_a_proxy_is_not_local(name: str, hops: int) -> None:
    """A proxy on this machine brings the whole internet from 127.0.0.1; it must not be taken for a local program."""
    peer = door(trusted_hops=hops).peer("127.0.0.1", headers((name, "127.0.0.1")))
    assert not peer.is_local


@pytest.mark.parametrize("host", ["127.0.0.1", "127.5.5.5", "::1", "::ffff:127.0.0.1", None, "", "testclient"])
def test_programs_on_this_machine(host: str | None) -> None:
    assert door().peer(host, headers()).is_local
    assert door().peer(host, headers(("host", "localhost:8000"))).is_local
    assert door(url="http://127.0.0.1:8000").peer(host, headers()).is_local


@pytest.mark.parametrize("settings", [{"trusted_hops": 1}, {"url": "https://chat.example.com"}], ids=str)
def test_behind_a_declared_proxy_nobody_is_local(settings: dict[str, Any]) -> None:
    """A tunnel on this machine that adds no header would lift all limits for everyone."""
    assert not door(**settings).peer("127.0.0.1", headers()).is_local


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("192.168.1.2:8000", True),
        ("localhost", True),
        ("rebound.evil.example:8000", False),
        ("localhost.evil.example", False),
    ],
)
def test_a_foreign_name_for_this_machine_is_not_local(host: str, is_local: bool) -> None:
    """A page whose name was made to lead to 127.0.0.1 (DNS rebinding) does not get a local program's freedom."""
    assert door().peer("127.0.0.1", headers(("host", host))).is_local is is_local


def test_one_address_can_not_be_everybodys_stranger() -> None:
    """By default ten booths an address, whatever else it holds; where the operator set a limit, that alone holds."""
    spammer = door().peer("10.0.0.5", headers())
    by_default = door()
    visits = [by_default.enter(spammer, 0.0, to_booth=True) for _ in range(11)]
    assert [isinstance(visit, Visit) for visit in visits] == [True] * 10 + [False]
    assert isinstance(by_default.enter(spammer, 0.0), Visit)
    assert isinstance(visits[0], Visit)
    visits[0].end()
    visits[0].end()
    assert isinstance(by_default.enter(spammer, 0.0, to_booth=True), Visit)
    assert isinstance(by_default.enter(spammer, 0.0, to_booth=True), Denial)
    chosen = door(per_address=20)
    assert all(isinstance(chosen.enter(spammer, 0.0, to_booth=True), Visit) for _ in range(20))


def test_who_looks_for_strangers_later_counts_from_then_on() -> None:
    """A connection that leads elsewhere may look for strangers as long as its address has not too many in booths; it
    counts once, and no more when it is over."""
    spammer = door().peer("10.0.0.5", headers())
    at = door()
    elsewhere = [at.enter(spammer, 0.0) for _ in range(11)]
    visits = [visit for visit in elsewhere if isinstance(visit, Visit)]
    assert [visit.meet() for visit in visits] == [True] * 10 + [False]
    assert [visit.meet() for visit in visits] == [True] * 10 + [False]
    assert isinstance(at.enter(spammer, 0.0, to_booth=True), Denial)
    assert isinstance(at.enter(spammer, 0.0), Visit)
    visits[10].end()
    assert not visits[10].meet()
    visits[0].end()
    seated = at.enter(spammer, 0.0, to_booth=True)
    assert isinstance(seated, Visit)
    assert seated.meet()
    assert isinstance(at.enter(spammer, 0.0, to_booth=True), Denial)
    for visit in (*visits, seated):
        visit.end()
        visit.end()
    assert not at._in_booths


@pytest.mark.parametrize(
    "host", ["10.0.0.5", "192.168.1.2", "fe80::1%eth0", "2001:db8::1", "::ffff:10.0.0.5", "0.0.0.0"]
)
def test_programs_on_others(host: str) -> None:
    assert not door().peer(host, headers()).is_local


@given(st.ip_addresses(v=6), st.ip_addresses(v=6))
def test_33_one_household_is_one_address(one: ipaddress.IPv6Address, other: ipaddress.IPv6Address) -> None:
    """A /64 of IPv6 has one key, and two have two; an IPv4 address in IPv6's clothes is the IPv4 address."""
    keys = [door().peer(str(address), headers()).address for address in (one, other)]
    if one.ipv4_mapped is None and other.ipv4_mapped is None:
        assert (keys[0] == keys[1]) is (one.packed[:8] == other.packed[:8])


# How many, and how fast


def enter(at: Door, peer: Peer = INTERNET, now: float = 0.0) -> Visit | Denial:
    return at.enter(peer, now)


def test_14_one_address_may_hold_so_many() -> None:
    """Others are not touched; who leaves makes room, once."""
    at = door(per_address=3)
    visits = [enter(at) for _ in range(3)]
    denial = enter(at)
    assert isinstance(denial, Denial)
    assert denial.status == 429
    assert isinstance(enter(at, Peer("203.0.113.8", is_local=False)), Visit)
    first = visits[0]
    assert isinstance(first, Visit)
    first.end()
    first.end()
    assert isinstance(enter(at, now=100.0), Visit)
    assert isinstance(enter(at, now=100.0), Denial)


def test_14_one_address_may_come_so_often() -> None:
    """As many in ten seconds as it may hold open; then one at a time, and after a calm all again."""
    at = door(per_address=20)

    def come(now: float) -> bool:
        visit = enter(at, now=now)
        if isinstance(visit, Visit):
            visit.end()
        return isinstance(visit, Visit)

    assert [come(0.0) for _ in range(500)].count(True) == 20
    assert not come(0.4)
    assert come(0.51)
    assert not come(0.51)
    assert [come(100.0) for _ in range(30)].count(True) == 20


def test_defaults_by_who_it_is() -> None:
    """Programs on this machine have no limit, unless one is given."""
    local = Peer("127.0.0.1", is_local=True)
    at = door()
    assert [isinstance(enter(at), Visit) for _ in range(DEFAULT_PER_ADDRESS + 1)].count(True) == DEFAULT_PER_ADDRESS
    assert all(isinstance(enter(at, local), Visit) for _ in range(2 * DEFAULT_PER_ADDRESS))
    assert at.pace(INTERNET).rate == DEFAULT_RATE
    assert at.pace(local).rate is None
    strict = door(per_address=1, rate=5)
    assert isinstance(enter(strict, local), Visit)
    assert isinstance(enter(strict, local), Denial)
    assert strict.pace(local).rate == strict.pace(INTERNET).rate == 5
    free = door(per_address="off", rate="off")
    assert all(isinstance(enter(free), Visit) for _ in range(2 * DEFAULT_PER_ADDRESS))
    assert free.pace(INTERNET).rate is None


def test_pace_comes_from_the_settings() -> None:
    pace = door(burst=7, ping=3, ping_timeout=4).pace(INTERNET)
    assert (pace.burst, pace.ping, pace.ping_timeout) == (7, 3, 4)


def test_a_million_addresses_are_not_remembered() -> None:
    """Only those that came just now, and those that are here."""
    at = door(per_address=100)
    for number in range(20_000):
        visit = at.enter(Peer(str(ipaddress.ip_address(number)), is_local=False), number / 1000)
        assert isinstance(visit, Visit)
        visit.end()
    assert 0 < sum(map(len, at._arrivals.values())) <= 2048
    assert not at._open


def test_threads_count_together() -> None:
    """TestClient, and servers with a loop for each socket, come from many threads."""
    at = door(per_address="off")

    def come_and_go() -> None:
        for _ in range(500):
            visit = enter(at)
            assert isinstance(visit, Visit)
            visit.end()

    threads = [Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not at._open


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ([], []),
        (["a"], ["a"]),
        (["a, b"], ["a", "b"]),
        (["a,b", " c ,, "], ["a", "b", "c"]),
        ([","], []),
    ],
)
def test_subprotocols_may_stand_in_several_lines(lines: list[str], names: list[str]) -> None:
    """RFC 6455 11.3.4; a comma-separated list, too."""
    assert offered_subprotocols(headers(*(("sec-websocket-protocol", value) for value in lines))) == names

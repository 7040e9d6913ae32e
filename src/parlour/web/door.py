"""Who may open a WebSocket: from which page (Origin), from which address, and how many.

All decisions are made before the upgrade is answered, from the transport's peer and the raw headers.
"""

import ipaddress
import re
from collections.abc import Sequence
from math import inf
from threading import Lock
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from parlour.core.connection import Pace
from parlour.core.moderation import Budgets
from parlour.settings import DEFAULT_IN_BOOTHS, DEFAULT_PER_ADDRESS, DEFAULT_RATE, Settings

ARRIVALS_SECONDS: Final = 10.0
"""As many new connections as one address may hold open, it may open within this time."""

_FORWARDING: Final = ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "forwarded", "via")
_ORIGIN = re.compile(r"(https?)://([^/?#@\s]+)", re.IGNORECASE)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Peer(NamedTuple):
    """Who connects. `address` is the key of its limits: an IPv4 address or an IPv6 /64 network. `is_local` says that it
    is a program on this machine, and no proxy brought it."""

    address: str
    is_local: bool


class Denial(NamedTuple):
    """The HTTP answer to one who may not come in, and what the operator should know about it, if anything."""

    status: int
    words: str
    hint: str | None = None


_CROWDED: Final = Denial(429, "too many connections from your address; close some, or try again in a few seconds")


class Visit:
    """A connection that was let in, and counts until it ends."""

    __slots__ = ("_counts", "_door", "_in_booth", "peer")

    def __init__(self, door: "Door", peer: Peer, in_booth: bool) -> None:
        self.peer = peer
        self._in_booth = in_booth
        self._door = door
        self._counts = True

    def meet(self) -> bool:
        """Whether this connection may look for strangers, too; from the first time on it counts as one in booths."""
        with self._door.lock:
            if not self._in_booth and self._counts:
                self._in_booth = self._door.seek(self.peer)
            return self._in_booth

    def end(self) -> None:
        """To end twice is to end once."""
        with self._door.lock:  # the hub's thread and the endpoint's may both end it
            if self._counts:
                self._counts = False
                self._door.leave(self.peer.address, self._in_booth)


class Door:
    """The checks, and the count of connections by address."""

    def __init__(self, settings: Settings, *, has_login: bool) -> None:
        """`has_login` says that the host app proves who somebody is: then a cookie without an Origin is refused."""
        self._hops = settings.trusted_hops
        self._has_login = has_login
        self._has_url = settings.url is not None
        # Where a proxy was declared, what comes without its headers came through it all the same, or around it.
        self._may_be_local = not self._hops and _is_loopback_url(settings.url)
        self._origins = set(settings.origin)
        if settings.url is not None:
            url = urlsplit(settings.url)
            self._origins.add(f"{url.scheme}://{url.netloc}".lower())
        self._settings = settings
        self.lock = Lock()  # servers that run sockets in several threads share this object
        self._open: dict[str, int] = {}
        self._in_booths: dict[str, int] = {}
        self._arrivals: dict[float, Budgets] = {}  # by limit: it may be another one for peers on this machine

    def peer(self, host: str | None, headers: Headers) -> Peer:
        """Who stands behind the transport's peer `host`.

        Each trusted hop has added the address that it saw at the right end of X-Forwarded-For, so the client's is
        counted from there; what stands further left came from the client and proves nothing.
        """
        address = _ip(host or "")
        # No address at all: a Unix socket, or a test without a network.
        is_local = address is None or (address.is_loopback and _is_own_name(headers.get("host", "")))
        is_local = self._may_be_local and is_local and not any(name in headers for name in _FORWARDING)
        if self._hops:
            hops = [hop.strip() for line in headers.getlist("x-forwarded-for") for hop in line.split(",")]
            if hops:
                address = _ip(hops[max(0, len(hops) - self._hops)]) or address
        return Peer(_limit_key(address), is_local)

    def check_origin(self, scheme: str, headers: Headers) -> Denial | None:
        """Whether the page that opens this WebSocket may (RFC 6455 10.2; RFC 6454). `scheme` is the request's: ws or
        wss.

        A page of the same origin may, one that `origin` or `url` names, and any page on loopback where the server was
        called by a loopback name. A client that sends no Origin is no browser, and welcome, unless a cookie would say
        who it is.
        """
        origins = headers.getlist("origin")
        if not origins:
            if self._has_login and "cookie" in headers:
                return Denial(403, "a request with a cookie must name its Origin")
            return None
        if len(origins) == 1 and self._is_welcome(origins[0].lower(), scheme, headers):
            return None
        return Denial(
            403,
            "this page's origin may not connect here",
            "a page of a foreign origin was refused; if it is yours, allow it with --origin https://its.address, "
            "or name this server's own address with --url https://its.address",
        )

    def _is_welcome(self, origin: str, scheme: str, headers: Headers) -> bool:
        parts = _ORIGIN.fullmatch(origin)
        if parts is None:  # "null", or no origin at all
            return False
        page = _site(parts[1], parts[2])
        if _spelled(page) in self._origins:
            return True
        server = _site(self._scheme(scheme, headers), headers.get("host", "").lower())
        if _is_loopback_name(page[1]) and _is_loopback_name(server[1]):
            return True
        return not self._has_url and page == server and bool(server[1])

    def _scheme(self, scheme: str, headers: Headers) -> str:
        if self._hops and "x-forwarded-proto" in headers:
            scheme = headers.getlist("x-forwarded-proto")[-1].split(",")[-1].strip().lower()
        return "https" if scheme in ("wss", "https") else "http"

    def pace(self, peer: Peer) -> Pace:
        """How fast this peer may speak, and how often it is asked for a sign of life."""
        rate = self._settings.rate
        if rate is None:
            rate = inf if peer.is_local else DEFAULT_RATE
        return Pace(
            rate=None if rate == inf else rate,
            burst=self._settings.burst,
            ping=self._settings.ping,
            ping_timeout=self._settings.ping_timeout,
        )

    def enter(self, peer: Peer, now: float, *, to_booth: bool = False) -> "Visit | Denial":
        """Count one more connection of the peer, or say why not. `now` is in seconds and never goes back.

        Where the operator set no limit, fewer of them may be `to_booth`: one who sits alone in many booths is the
        stranger whom everybody meets.
        """
        limit = self._limit(peer, DEFAULT_PER_ADDRESS)
        with self.lock:
            held = self._open.get(peer.address, 0)
            if limit != inf and not self._may_arrive(peer.address, int(limit), held, now):
                return _CROWDED
            if to_booth and not self.seek(peer):
                return _CROWDED
            self._open[peer.address] = held + 1
        return Visit(self, peer, to_booth)

    def seek(self, peer: Peer) -> bool:
        """Count one more connection of the peer in booths, or not if there are too many. Whoever calls holds `lock`."""
        held = self._in_booths.get(peer.address, 0)
        if held >= self._limit(peer, DEFAULT_IN_BOOTHS):
            return False
        self._in_booths[peer.address] = held + 1
        return True

    def _limit(self, peer: Peer, default: float) -> float:
        limit = self._settings.per_address
        if limit is None:
            limit = inf if peer.is_local else default
        return limit

    def leave(self, address: str, from_booth: bool) -> None:
        """One connection from the address is over. A `Visit` calls this, and holds `lock`."""
        for counts in (self._open, self._in_booths) if from_booth else (self._open,):
            held = counts.pop(address)
            if held > 1:
                counts[address] = held - 1

    def _may_arrive(self, address: str, limit: int, held: int, now: float) -> bool:
        if held >= limit:
            return False
        return self._arrivals.setdefault(limit, Budgets(limit / ARRIVALS_SECONDS, limit)).take(address, now)


_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
_Site = tuple[str, str, int | None]


def _ip(text: str) -> _Ip | None:
    """The address in `1.2.3.4`, `1.2.3.4:567`, `::1`, `[::1]` or `[::1]:567`."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _limit_key(address: _Ip | None) -> str:
    """One customer of a network provider gets a whole /64 of IPv6 addresses, at least (RFC 6177)."""
    if address is None:
        return "unknown"
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))


def _site(scheme: str, host: str) -> _Site:
    """Scheme, host name and port; no port where none can be read."""
    try:
        parts = urlsplit(f"{scheme}://{host}")
        return scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS[scheme]
    except ValueError:
        return scheme, "", None


def _spelled(site: _Site) -> str:
    scheme, name, port = site
    name = f"[{name}]" if ":" in name else name
    return f"{scheme}://{name}" if port == _DEFAULT_PORTS[scheme] else f"{scheme}://{name}:{port}"


def _is_own_name(host: str) -> bool:
    """Whether a Host header can only mean this machine. Any other name may be a foreign page's that was made to lead
    here (DNS rebinding)."""
    name = _site("http", host.lower())[1]
    return not host or _is_loopback_name(name) or _ip(name) is not None


def _is_loopback_url(url: str | None) -> bool:
    return url is None or _is_loopback_name(urlsplit(url).hostname or "")


def _is_loopback_name(name: str) -> bool:
    """RFC 6761 6.3 keeps `localhost` and all below it for loopback."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _ip(name) if name else None
    return address is not None and address.is_loopback


def offered_subprotocols(headers: Headers) -> Sequence[str]:
    """The subprotocols that a client offers, in its order of preference; several may stand in one header line."""
    lines = headers.getlist("sec-websocket-protocol")
    return [name for line in lines for name in (part.strip() for part in line.split(",")) if name]

"""`/metrics`: what the server counted, as Prometheus reads it, and who may read it."""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from parlour.engine import Scheduler
from parlour.errors import SettingsError
from parlour.hub import Hub
from parlour.settings import Settings, flag_name
from parlour.store import Stats
from parlour.tally import Histogram, Tally
from parlour.web.door import Peer

TOKEN_LENGTH: Final = 16
"""Characters that a token has at least."""

_LAG_SECONDS: Final = 1.0
_WIRES: Final = ("plain", "v1")

MoreMetrics: TypeAlias = Callable[[], Iterable[Metric]]
"""What another part adds at each reading. No label may hold a name, an id of a person, or a room's that is not
public."""


def metrics_route(
    settings: Settings,
    tally: Tally,
    *,
    hub: Callable[[], Hub | None],
    peer: Callable[[str | None, Headers], Peer],
    rooms: Sequence[str] = ("public",),
    more: Sequence[MoreMetrics] = (),
) -> Route:
    """Answers who brings the token; where there is none, programs on this machine.

    `peer` says who stands behind the transport's peer; `rooms` are public ones, whose members are counted; `more` is
    asked at each reading, so it may grow. Raises `SettingsError` where the token can't be used.
    """
    token = None if settings.metrics_token_file is None else _loaded_token(settings.metrics_token_file)
    # What these allow, a proxy may bring, also one that says nothing of itself and calls this server by a local name.
    is_reached_from_outside = bool(settings.origin)
    registry = CollectorRegistry()
    registry.register(_Numbers(tally, hub, rooms, more))
    ProcessCollector(registry=registry)  # memory, open files, processor time

    async def metrics(request: Request) -> Response:
        if token is not None:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not secrets.compare_digest(given.strip().encode(), token):
                return _told(401, "bring the token: Authorization: Bearer ...", {"WWW-Authenticate": "Bearer"})
        else:
            who = peer(request.client.host if request.client is not None else None, request.headers)
            # Through a Unix socket, which has no address, comes a proxy.
            if is_reached_from_outside or not who.is_local or who.address == "unknown":
                return _told(403, "for programs on the server's own machine; others need a token")
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    return Route("/metrics", metrics)


def watch_lag(scheduler: Scheduler, tally: Tally, is_over: Callable[[], bool]) -> None:
    """Note once a second how late the loop is, until `is_over()`. Called on the loop."""

    def look(due: float) -> None:
        now = scheduler.time()
        tally.lag.observe(max(0.0, now - due))
        plan(now + _LAG_SECONDS)

    def plan(due: float) -> None:
        if not is_over():
            scheduler.call_at(due, lambda: look(due))

    plan(scheduler.time() + _LAG_SECONDS)


def store_metrics(stats: Callable[[], Stats | None]) -> MoreMetrics:
    """What waits to be stored, where there is a store."""

    def collect() -> Iterator[Metric]:
        now = stats()
        if now is not None:
            yield _gauge("store_queue", "Events that wait to be stored", now.queued)
            yield _gauge("store_queue_bytes", "Bytes of memory that they take", now.queued_bytes)

    return collect


def _told(status: int, words: str, headers: Mapping[str, str] | None = None) -> Response:
    return PlainTextResponse(words + "\n", status, {"Cache-Control": "no-store", **(headers or {})})


def _loaded_token(file: Path) -> bytes:
    flag = flag_name("metrics_token_file")
    try:
        token = file.read_bytes().strip()
    except OSError as error:
        raise SettingsError(
            f"{flag}: {file} cannot be read: {error.strerror}; correct the path or its permissions"
        ) from None
    if len(token) < TOKEN_LENGTH or not token.isascii() or any(byte <= 32 for byte in token):
        raise SettingsError(
            f"{flag}: {file} holds no token; write one line of at least {TOKEN_LENGTH} characters without blanks"
        )
    return token


class _Numbers(Collector):
    """Reads the tally, and looks at the hub, when it is asked."""

    def __init__(
        self, tally: Tally, hub: Callable[[], Hub | None], rooms: Sequence[str], more: Sequence[MoreMetrics]
    ) -> None:
        self._tally = tally
        self._hub = hub
        self._rooms = rooms
        self._more = more

    def collect(self) -> Iterator[Metric]:
        tally, hub = self._tally, self._hub()
        here = {wire: tally.opened[wire] - tally.ended[wire] for wire in _WIRES}
        opened = {wire: tally.opened[wire] for wire in _WIRES}
        members = {room: 0 if hub is None else hub.members(room) for room in self._rooms}
        booths, waiting = (0, 0) if hub is None else hub.engine.counts()
        resumes = {"yes": tally.resumes[True], "no": tally.resumes[False]}
        yield _gauges("connections", "Open connections", "wire", here)
        yield _counters("connections_opened", "Connections since the start", "wire", opened)
        yield _gauge("rooms", "Rooms with members, booths among them", 0 if hub is None else hub.rooms)
        yield _gauges("members", "Connections in a public room", "room", members)
        yield _gauge("booths", "Booths with a seat taken", booths)
        yield _gauge("booths_waiting", "Booths with a free seat: their one member waits for somebody", waiting)
        yield _gauge("backlog_bytes", "Bytes that wait for slow readers", 0 if hub is None else hub.backlog())
        yield _counter("messages", "Messages that people said", tally.messages)
        yield _counter("deliveries", "Events, counted once for each member who gets them", tally.deliveries)
        yield _histogram("fan_out_seconds", "Time to write what a turn brought to all members", tally.fan_out)
        yield _histogram("pairing_wait_seconds", "Time that v1 clients looked for somebody they met", tally.pairing)
        yield _histogram("loop_lag_seconds", "How late the event loop was, looked at once a second", tally.lag)
        yield _counters("closes", "Connections that the server ended; 4008 is a slow reader", "code", tally.closes)
        yield _counters("refusals", "Commands that were refused", "code", tally.refusals)
        yield _counters("denials", "Connections refused before they opened", "status", tally.denials)
        yield _counters("resumes", "Rooms resumed, and whether nothing was missed", "recovered", resumes)
        for more in self._more:
            yield from more()


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"parlour_{name}", words, value=value)


def _counter(name: str, words: str, value: float) -> Metric:
    return CounterMetricFamily(f"parlour_{name}", words, value=value)


def _gauges(name: str, words: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"parlour_{name}", words, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _counters(name: str, words: str, label: str, values: Mapping[str, float] | Mapping[int, float]) -> Metric:
    family = CounterMetricFamily(f"parlour_{name}", words, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([str(key)], value)
    return family


def _histogram(name: str, words: str, histogram: Histogram) -> Metric:
    bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
    return HistogramMetricFamily(f"parlour_{name}", words, buckets=buckets, sum_value=histogram.sum)

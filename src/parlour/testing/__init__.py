"""A test kit: the whole chat on a clock, a network and dice of its own.

Hub, rules, wires and engine are the real ones; only time, the network and chance are simulated. Nothing sleeps and
nothing runs beside the test, so a minute of silence takes no time, and the same seed gives the same `Kit.trace`.

Two strangers meet in a booth; one of their machines falls asleep; the seat is free again half a minute later:

>>> from parlour.testing import Kit
>>> kit = Kit(seed=1)
>>> ada, bo = kit.private("ada"), kit.private("bo")
>>> ada.say("hello")
>>> bo.expect("ada> hello")
>>> ada.freeze()
>>> kit.run_until(lambda: not ada.is_connected, within=32)
>>> cy = kit.private("cy")
>>> cy.say("anyone here?")
>>> bo.expect("cy> anyone here?")

Two who speak v1 meet; one loses the connection and comes back, and nothing is lost. What comes is asserted in its
order, and is at hand as it came:

>>> kit = Kit()
>>> ada = kit.v1("ada", "/chat/private", match={"interests": ["tea", "go"]})
>>> bo = kit.v1("bo", "/chat/private", match={"interests": ["tea"]})
>>> booth = bo.assert_event("match.found", peer={"name": "ada"}, common=["tea"])["room"]
>>> bo.drop()
>>> [ada.assert_event(kind)["ev"] for kind in ("match.waiting", "match.found", "match.away")]
['match.waiting', 'match.found', 'match.away']
>>> sent = ada.send(booth, "are you still there?")
>>> ada.assert_reply(sent)["off"]
1
>>> bo = bo.resume()
>>> bo.assert_event("message", off=1, from_={"name": "ada"})["text"]
'are you still there?'

Settings are the server's own. Here a client talks faster than it may; the third line comes a second later:

>>> from parlour import Settings
>>> kit = Kit(Settings(rate=1, burst=2))
>>> ada = kit.public("ada")
>>> for line in ("one", "two", "three"):
...     ada.say(line)
>>> ada.expect("ada> one")
>>> ada.expect("ada> two")
>>> ada.expect_nothing(for_=0.9)
>>> ada.expect("ada> three", within=0.2)

A user whom the host app knows: give `identity` what the `authenticate` hook answered.

>>> from parlour import Person
>>> kit = Kit()
>>> ada = kit.public("whoever", identity=Person("user-1", "Ada"))
>>> ada.say("it is really me")
>>> ada.expect("Ada> it is really me")
"""

from parlour.testing.clients import Client, Happening, V1Client
from parlour.testing.kit import Kit

__all__ = ["Client", "Happening", "Kit", "V1Client"]

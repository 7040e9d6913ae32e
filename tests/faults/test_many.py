"""Thousands of clients at once, and thousands of draws: for `make stress`."""

import asyncio
from collections import Counter
from math import sqrt

import pytest

from tests.raw import DEADLINE, Client, connect, heard, said
from tests.servers import crowd, serving

pytestmark = [pytest.mark.anyio, pytest.mark.stress]

PATIENCE = 10 * DEADLINE


async def test_booths_and_the_public_room_at_the_same_time_lose_nothing() -> None:
    """2,000 clients talk in booths, each line the answer to the one before, while 1,000 hear each other in public."""
    rounds = 100

    async def converse(one: Client, other: Client, number: int) -> None:
        names = (f"a{number}", f"b{number}")
        for turn in range(rounds):
            speaker, name = ((one, names[0]), (other, names[1]))[turn % 2]
            await speaker.say(name, str(turn))
            expected = heard(name, str(turn))
            for listener in (one, other):
                assert await listener.reader.readexactly(len(expected)) == expected

    async def listen(member: Client) -> None:
        assert await member.reader.readexactly(len(everything)) == everything

    async def speak(speaker: Client) -> None:
        for turn in range(rounds):
            await speaker.send(said("ada", f"{turn} {'x' * 100}"))
            await asyncio.sleep(0.02)  # a lively room

    everything = b"".join(heard("ada", f"{turn} {'x' * 100}") for turn in range(rounds))
    with serving("--ping", "600", "--ping-timeout", "600") as server:
        async with (
            crowd(server.url, 2_000, "/chat/private") as booths,
            crowd(server.url, 1_000) as public,
            asyncio.timeout(PATIENCE),
            asyncio.TaskGroup() as group,
        ):
            for number in range(1_000):
                group.create_task(converse(booths[2 * number], booths[2 * number + 1], number))
            for member in public:
                group.create_task(listen(member))
            group.create_task(speak(public[0]))
        assert "Traceback" not in server.log


def chi_square_limit(freedom: int) -> float:
    """What chi-square stays below in all but one of a million fair runs (Wilson and Hilferty's approximation)."""
    z = 4.753
    return float(freedom * (1 - 2 / (9 * freedom) + z * sqrt(2 / (9 * freedom))) ** 3)


@pytest.mark.parametrize("waiting", [2, 7, 100, 1_000])
async def test_23_every_one_who_waits_is_as_likely_to_be_met(waiting: int) -> None:
    """5,000 newcomers, one after the other, in the running server."""
    draws = 5_000

    async def wait_for_strangers(client: Client, number: int) -> None:
        """Say to each stranger which of those waiting they met."""
        while True:
            line = await client.line()
            if line == "new> who?":
                await client.say("old", str(number))

    with serving("--ping", "600", "--ping-timeout", "600") as server:
        async with crowd(server.url, 2 * waiting, "/chat/private") as clients:
            for client in clients[1::2]:
                await client.leave()
            old = [asyncio.create_task(wait_for_strangers(client, at)) for at, client in enumerate(clients[::2])]
            met: Counter[str] = Counter()
            for _ in range(draws):
                async with connect(server.url, "/chat/private") as new:
                    await new.say("new", "who?")
                    assert await new.line() == "new> who?"
                    met[await new.line()] += 1
                    await new.leave()
            for task in old:
                task.cancel()
        expected = draws / waiting
        chi_square = sum((met[f"old> {at}"] - expected) ** 2 / expected for at in range(waiting))
        assert sum(met.values()) == draws
        assert chi_square < chi_square_limit(waiting - 1)

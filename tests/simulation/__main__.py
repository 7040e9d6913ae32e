"""Plays one seed alone: `python -m tests.simulation SEED PEOPLE STEPS`. The trace goes to stdout, line by line."""

import sys

from tests.simulation.world import Scenario


def main() -> None:
    seed, people, steps = map(int, sys.argv[1:])
    scenario = Scenario(seed, people, steps)
    try:
        scenario.run()
    finally:
        for at, who, what, detail, room in scenario.kit.trace:
            print(f"{at:10.3f}  {who:10} {what:9} {room or '':12} {detail[:60]}".rstrip())


if __name__ == "__main__":
    main()

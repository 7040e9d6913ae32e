"""Faults 18, 19, 21, 22 and 40: crowds on both wires and a bad network, many seeds; `model.py` says what must hold."""

import hashlib
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import pytest

from tests.simulation.world import Scenario

ROOT = Path(__file__).parent.parent.parent

SMALL = (30, 150)
"""People at a time, and steps: a tenth of a second a seed."""

LARGE = (200, 300)
STRESS_SEEDS = 10_000
CHUNK = 20


def play(seed: int, people: int, steps: int) -> int:
    """Entries in the seed's trace. AssertionError, with how to run it alone, if something was not as it must be."""
    scenario = Scenario(seed, people, steps)
    try:
        return len(scenario.run())
    except Exception as error:
        raise AssertionError(
            f"{type(error).__name__}: {error}\n{' '.join(getattr(error, '__notes__', ()))}, "
            f"at {scenario.kit.now:g} s. Run it alone:\npython -m tests.simulation {seed} {people} {steps}"
        ) from error


def play_several(seeds: range, people: int, steps: int) -> int:
    return sum(play(seed, people, steps) for seed in seeds)


@pytest.mark.parametrize("seed", range(400))
def test_a_crowd(seed: int) -> None:
    assert play(seed, *SMALL) > 500


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_seed_gives_the_same_trace(seed: int) -> None:
    trace = Scenario(seed, *SMALL).run()
    assert Scenario(seed, *SMALL).run() == trace
    assert Scenario(seed + 1, *SMALL).run() != trace


def test_the_trace_does_not_depend_on_the_process() -> None:
    """Python hashes texts anew in each process, and nothing may be decided by the order of a set."""
    code = "from tests.simulation.world import Scenario; print(*Scenario(3, 30, 150).run(), sep='\\n')"
    digests = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        digests.add(hashlib.sha256(done.stdout).hexdigest())
    assert len(digests) == 1


def test_a_failing_seed_says_how_to_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose_a_line(self: Scenario) -> None:
        raise AssertionError("a line was lost")

    with monkeypatch.context() as patch:
        patch.setattr(Scenario, "_check", lose_a_line)
        with pytest.raises(AssertionError) as failed:
            play(7, *SMALL)
    assert "a line was lost" in str(failed.value)
    assert "in step 0 (come) of seed 7" in str(failed.value)
    assert "python -m tests.simulation 7 30 150" in str(failed.value)
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "7", "5", "5"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "/chat/" in done.stdout


@pytest.mark.stress
def test_ten_thousand_large_crowds(capsys: pytest.CaptureFixture[str]) -> None:
    """Nearly a second a seed, on as many cores as there are: an hour and a quarter on two."""
    context = multiprocessing.get_context("spawn")
    chunks = [range(start, start + CHUNK) for start in range(0, STRESS_SEEDS, CHUNK)]
    done = happenings = 0
    with ProcessPoolExecutor(mp_context=context) as pool:
        futures = [pool.submit(play_several, chunk, *LARGE) for chunk in chunks]
        try:
            for future in as_completed(futures):
                happenings += future.result()
                done += CHUNK
                with capsys.disabled():
                    print(f"\r{done:,} of {STRESS_SEEDS:,} seeds, {happenings:,} happenings", end="", flush=True)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

"""Set-up of the whole run, done before any test module imports parlour."""

import atexit
import os
import shutil
import tempfile

import hypothesis
import pytest

for variable in [name for name in os.environ if name.startswith("PARLOUR_")]:
    del os.environ[variable]

# Child processes inherit it: no test can touch the data folder of whoever runs the suite.
_data = tempfile.mkdtemp(prefix="parlour-tests-")
os.environ["PARLOUR_DATA"] = _data
atexit.register(shutil.rmtree, _data, ignore_errors=True)

# The suite must not fail by chance: the same examples on every run, and no deadline for a busy machine to miss.
# `make stress` asks for the profile that searches.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.register_profile("stress", deadline=None, max_examples=2_000, print_blob=True)
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests, marked `anyio`, run on asyncio: the server stands on its loops."""
    return "asyncio"

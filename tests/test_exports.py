"""The public names. Whoever changes this file changes what others' code relies on: say so in a changelog fragment."""

import importlib
from types import ModuleType

import pytest

import parlour

PUBLIC = {
    "parlour": (
        "Close ConnectError Disconnected Guest Parlour ParlourError Person Refusal Refused Settings SettingsError "
        "__version__"
    ),
    "parlour.testing": "Client Happening Kit V1Client",
}
"""Modules for other people's code, with the names that they promise, in the order of `sorted`."""


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names(module: str) -> None:
    """`__all__` is these names, and each is there."""
    loaded = importlib.import_module(module)
    assert sorted(loaded.__all__) == PUBLIC[module].split()
    for name in loaded.__all__:
        assert getattr(loaded, name) is not None


def test_dir_shows_the_public_names() -> None:
    """Completion offers what is public, also before it was imported; submodules come and go with their import."""
    shown = {name for name in dir(parlour) if not isinstance(getattr(parlour, name), ModuleType)}
    assert {name for name in shown if not name.startswith("_")} == {*PUBLIC["parlour"].split()} - {"__version__"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A lazy `__getattr__` must say no like any module does, or `hasattr` and tools break."""
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = parlour.no_such_name  # type: ignore[attr-defined, unused-ignore]


def test_the_version_is_the_package_s() -> None:
    from importlib.metadata import version

    assert parlour.__version__ == version("parlour")

"""Parlour: a public chat room, and private booths where two strangers meet at random."""

from typing import TYPE_CHECKING, Any

from parlour.core.events import Guest, Person
from parlour.errors import Close, ConnectError, Disconnected, ParlourError, Refusal, Refused, SettingsError

if TYPE_CHECKING:
    from parlour.app import Parlour
    from parlour.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "Close",
    "ConnectError",
    "Disconnected",
    "Guest",
    "Parlour",
    "ParlourError",
    "Person",
    "Refusal",
    "Refused",
    "Settings",
    "SettingsError",
    "__version__",
]

_LATER = {"Parlour": "app", "Settings": "settings"}


def __getattr__(name: str) -> Any:
    """What needs FastAPI and pydantic is imported when it is asked for: the terminal client does without."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return __all__

"""What somebody must accept before meeting strangers: the terms, in their newest version, and how old they are.

Off unless the operator makes a `Gate`. People of two age bands never meet: the band goes into what a search wants
(`Wanted`), and the pairing never relaxes it. Only the band is kept, never the age. A client that says lines can accept
nothing, so where there is a gate it meets nobody (close code 4508).
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from parlour.core.events import value
from parlour.errors import Close, Refusal

OLDEST: Final = 150
"""Years; an age above is none."""

NOT_MET: Final = Close(4508, "terms must be accepted first")
"""For a client that says lines."""


class Accepted(NamedTuple):
    """What somebody accepted: the terms of this version; and the age in years that they say they have."""

    version: str
    age: int | None = None


@value
class Admitted:
    """May meet strangers of the same `band`, None where there are no bands."""

    band: str | None


class Gate:
    """The terms in `version`, to be read at `url`; and bands of age, by name, each from its lowest age in years up to
    the next one: `{"16-17": 16, "adult": 18}`. Who is younger than all of them meets nobody.

    Raises `ValueError` for an empty version, or two bands of one age.
    """

    __slots__ = ("_bands", "url", "version")

    def __init__(self, version: str, url: str | None = None, bands: Mapping[str, int] | None = None) -> None:
        if not version:
            raise ValueError("the terms need a version, so that people can be asked again when they change")
        self.version = version
        self.url = url
        self._bands = sorted(((least, name) for name, least in (bands or {}).items()), reverse=True)
        ages = {least for least, _ in self._bands}
        if len(ages) < len(self._bands) or not all(0 <= least <= OLDEST for least in ages):
            raise ValueError(f"each band needs a lowest age of its own, from 0 to {OLDEST}")

    @property
    def asks_age(self) -> bool:
        return bool(self._bands)

    def admit(self, accepted: Accepted | None) -> Admitted | Refusal:
        """Who may look for strangers, and of which band; or why not: `required` for what is missing or out of date,
        `forbidden` for who is too young. Never says from which age on it would not refuse: the answer would change."""
        if accepted is None or accepted.version != self.version:
            where = f" at {self.url}" if self.url else ""
            return Refusal("required", f"accept the terms{where}, version {self.version}", field="terms")
        if not self._bands:
            return Admitted(None)
        if accepted.age is None or not 0 <= accepted.age <= OLDEST:
            return Refusal("required", "say how old you are, in years", field="terms")
        for least, name in self._bands:
            if accepted.age >= least:
                return Admitted(name)
        return Refusal("forbidden", "you may not meet strangers here", field="terms")

    def readmit(self, version: str | None, band: str | None) -> Admitted | Refusal:
        """The same for somebody of whom only is known what came of it before: they accepted this version, and were of
        this band."""
        if version == self.version and band in {name for _, name in self._bands}:
            return Admitted(band)
        return self.admit(None if version is None else Accepted(version))

"""Writes src/parlour/core/confusables.py anew: `.venv/bin/python -m tests.core.make_confusables`.

The data are those of Unicode's confusables.txt as ICU, Unicode's own library, carries them: a distribution that has no
package with that file has ICU (on Debian, `icu-devtools` brings it). What names can't hold is left out.
"""

import ctypes
import ctypes.util
import sys
import textwrap
import unicodedata
from collections import defaultdict
from pathlib import Path
from typing import Self

MODULE = Path(__file__).parents[2] / "src" / "parlour" / "core" / "confusables.py"

HEAD = '''"""Which characters look alike: Unicode's confusables.txt (UTS #39, section 4), for `names.skeleton`.

Written by tests/core/make_confusables.py. The data were modified: what can't stand in the NFKD of a name is left out,
and the prototypes hold no blanks.

UNICODE, INC. LICENSE AGREEMENT - DATA FILES AND SOFTWARE
Copyright (c) 1991-2022 Unicode, Inc. All rights reserved. Distributed under the Terms of Use in
https://www.unicode.org/copyright.html.

Permission is hereby granted, free of charge, to any person obtaining a copy of the Unicode data files and any
associated documentation (the "Data Files") or Unicode software and any associated documentation (the "Software") to
deal in the Data Files or Software without restriction, including without limitation the rights to use, copy, modify,
merge, publish, distribute, and/or sell copies of the Data Files or Software, and to permit persons to whom the Data
Files or Software are furnished to do so, provided that either (a) this copyright and permission notice appear with
all copies of the Data Files or Software, or (b) this copyright and permission notice appear in associated
Documentation.

THE DATA FILES AND SOFTWARE ARE PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT
LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT OF THIRD PARTY
RIGHTS. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR HOLDERS INCLUDED IN THIS NOTICE BE LIABLE FOR ANY CLAIM, OR ANY
SPECIAL INDIRECT OR CONSEQUENTIAL DAMAGES, OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS,
WHETHER IN AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR
PERFORMANCE OF THE DATA FILES OR SOFTWARE.

Except as contained in this notice, the name of a copyright holder shall not be used in advertising or otherwise to
promote the sale, use or other dealings in these Data Files or Software without prior written authorization of the
copyright holder.
"""

from typing import Final

UNICODE: Final = "{version}"
"""The version of the data."""

LOOKS: Final = """\\
{data}
"""
"""By turns, between blanks: what some characters look like (their prototype, in NFD), and these characters."""
'''


class Icu:
    """The system's ICU: its version of Unicode, and the skeletons that it makes."""

    def __init__(self, common: str, i18n: str) -> None:
        suffix = "_" + i18n.rpartition(".so.")[2].partition(".")[0]
        version = (ctypes.c_uint8 * 4)()
        ctypes.CDLL(common)["u_getUnicodeVersion" + suffix](version)
        self.unicode = ".".join(map(str, version[:3]))
        library = ctypes.CDLL(i18n)
        opened = library["uspoof_open" + suffix]
        opened.argtypes, opened.restype = [ctypes.c_void_p], ctypes.c_void_p
        self._checker = opened(ctypes.byref(ctypes.c_int(0)))
        self._skeleton = library["uspoof_getSkeletonUTF8" + suffix]
        self._skeleton.argtypes = [
            *(ctypes.c_void_p, ctypes.c_uint32),
            *(ctypes.c_char_p, ctypes.c_int32, ctypes.c_char_p, ctypes.c_int32),
            ctypes.c_void_p,
        ]

    @classmethod
    def found(cls) -> Self | None:
        """The library, if this system has it under the names that Linux gives it."""
        common, i18n = ctypes.util.find_library("icuuc"), ctypes.util.find_library("icui18n")
        return cls(common, i18n) if common and i18n and ".so." in i18n else None

    def skeleton(self, text: str) -> str:
        """The internal skeleton of UTS #39. Raises ValueError with ICU's number for what went wrong."""
        given, made, error = text.encode(), ctypes.create_string_buffer(1024), ctypes.c_int(0)
        size = self._skeleton(self._checker, 0, given, len(given), made, len(made), ctypes.byref(error))
        if error.value > 0:
            raise ValueError(error.value)
        return made.raw[:size].decode()


def prototypes(icu: Icu) -> dict[str, str]:
    """What each character looks like that can stand in the NFKD of a name and looks like another. One that this Python
    doesn't know yet counts, for a later one may."""
    found = {}
    for character in map(chr, range(sys.maxunicode + 1)):
        if unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"):
            continue
        looks = "".join(icu.skeleton(character).split())
        if looks != character == unicodedata.normalize("NFKD", character):
            found[character] = looks
    return found


def source(icu: Icu) -> str:
    """The whole module."""
    ones: defaultdict[str, str] = defaultdict(str)
    for character, looks in prototypes(icu).items():
        ones[looks] += character
    words = (ascii(word)[1:-1] for pair in sorted(ones.items()) for word in pair)
    lines = textwrap.wrap(" ".join(words), 120, break_long_words=False, break_on_hyphens=False)
    return HEAD.replace("{version}", icu.unicode).replace("{data}", "\n".join(lines))


if __name__ == "__main__":
    system = Icu.found()
    if system is None:
        sys.exit("There is no ICU on this system; on Debian: apt install icu-devtools")
    MODULE.write_text(source(system))
    print(f"{MODULE.name}: Unicode {system.unicode}")

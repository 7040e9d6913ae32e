"""Both wires, word for word: docs/transcripts and the worked session of docs/protocol.md are what the server says."""

from pathlib import Path

import pytest

from tests.transcripts import DOCUMENTS, renewed


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_the_server_says_what_is_written(document: Path) -> None:
    """Every received line of every transcript; `python -m tests.transcripts` writes them anew."""
    written = document.read_text()
    assert "```transcript" in written
    assert renewed(written).splitlines() == written.splitlines()

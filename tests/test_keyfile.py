"""The server's secrets in the data folder."""

import json
import logging
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from parlour.core.keys import Session
from parlour.errors import SettingsError
from parlour.keyfile import FILE, check_secrets, loaded_keyring

ADA = Session("s-ada", "p-ada")


def test_the_secrets_are_made_once(tmp_path: Path) -> None:
    """Another start of the server proves what the first one signed; only the owner can read the file."""
    folder = tmp_path / "new" / "folder"
    token = loaded_keyring(folder).sign_session(ADA, 0)
    assert loaded_keyring(folder).read_session(token, 1) == ADA
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
    assert [file.name for file in folder.iterdir()] == [FILE]


def test_processes_that_start_together_share_one_secret(tmp_path: Path) -> None:
    """Whoever comes first makes it; the others read it whole."""
    script = (
        "import sys, pathlib; from parlour.keyfile import loaded_keyring; from parlour.core.keys import Session\n"
        "print(loaded_keyring(pathlib.Path(sys.argv[1])).sign_session(Session('s', 'p'), 0))"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    starting = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    assert len({process.communicate(timeout=60)[0] for process in starting}) == 1


def test_without_a_folder_each_start_has_its_own() -> None:
    token = loaded_keyring(None).sign_session(ADA, 0)
    assert loaded_keyring(None).read_session(token, 1) is None


def test_a_folder_that_can_t_be_used_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The server starts all the same; the operator learns what that means."""
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        keyring = loaded_keyring(tmp_path / "file" / "data")
    assert keyring.read_session(keyring.sign_session(ADA, 0), 1) == ADA
    assert "nobody can resume" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\udcff\udcfe\x00",
        "[]",
        "{}",
        '{"current": "1", "secrets": {}}',
        '{"current": "1", "secrets": {"1": "c2hvcnQ="}}',
        '{"current": "2", "secrets": {"1": "' + "QUFB" * 11 + '"}}',
        '{"current": "1", "secrets": {"1": "?"}}',
        '{"current": "1", "secrets": {"1": 5}}',
    ],
)
def test_a_broken_file_is_not_replaced(tmp_path: Path, text: str) -> None:
    """Everyone's sessions hang on it: the operator decides, and the words name the file and the ways out."""
    garbled = text.encode(errors="surrogateescape")
    (tmp_path / FILE).write_bytes(garbled)
    for read in (loaded_keyring, check_secrets):
        with pytest.raises(SettingsError, match="restore it, or remove it"):
            read(tmp_path)
    assert (tmp_path / FILE).read_bytes() == garbled


def test_our_own_server_says_so_before_it_listens(tmp_path: Path) -> None:
    """Not when the first client comes. A folder that is new, or can't be used, is no reason not to start."""
    (tmp_path / FILE).write_text("{}")
    command = [sys.executable, "-m", "parlour", "serve", "--port", "0", "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert str(tmp_path / FILE) in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    check_secrets(tmp_path / "new")
    check_secrets(tmp_path / FILE / "data")
    check_secrets(None)
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


def test_a_new_secret_signs_while_the_old_one_is_still_good(tmp_path: Path) -> None:
    """So a secret can be replaced without ending anybody's session; ids of users stay those of the first one."""
    before = loaded_keyring(tmp_path)
    old = before.sign_session(ADA, 0)
    fields = json.loads((tmp_path / FILE).read_text())
    fields["secrets"]["2"], fields["current"] = "QUFB" * 11, "2"
    (tmp_path / FILE).write_text(json.dumps(fields))
    after = loaded_keyring(tmp_path)
    assert after.read_session(old, 1) == ADA
    assert before.read_session(after.sign_session(ADA, 0), 1) is None
    assert after.person_id("ada") == before.person_id("ada")


def test_importing_the_app_makes_no_file(tmp_path: Path) -> None:
    """Secrets are made when the first client comes."""
    script = "import parlour.app; parlour.app.create_app()"
    subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, check=True, env={"PARLOUR_DATA": str(tmp_path / "data")}
    )
    assert list(tmp_path.iterdir()) == []

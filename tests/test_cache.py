import subprocess
import sys

import pytest

from gndpo.cache import cached, fingerprint
from gndpo.errors import UserError


def test_made_once(tmp_path):
    calls = []

    def make(folder):
        calls.append(folder)
        (folder / "x").write_text("1")

    for _ in range(2):
        assert (cached(tmp_path / "deep" / "a", make) / "x").read_text() == "1"
    assert len(calls) == 1


def test_an_interrupted_make_leaves_nothing(tmp_path):
    def fail(folder):
        (folder / "half").write_text("1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path / "a", fail)
    assert not (tmp_path / "a").exists()
    assert cached(tmp_path / "a", lambda folder: None).exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"a", "a.lock"}


def test_two_processes_make_it_once(tmp_path):
    program = f"""
from pathlib import Path
from gndpo.cache import cached
cached(Path({str(tmp_path)!r}) / "a", lambda folder: print("made"))
"""
    command = [sys.executable, "-c", program]
    jobs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(job.communicate()[0] for job in jobs) == ["", "made\n"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cache_dir"):
        cached(tmp_path / "file" / "a", lambda folder: None)


def test_fingerprint_follows_settings_and_code_but_not_comments(tmp_path):
    code = tmp_path / "code.py"
    code.write_text("x = 1\n")
    first = fingerprint("lr=1", [code])
    assert fingerprint("lr=2", [code]) != first
    code.write_text("x  =  1  # one\n")
    assert fingerprint("lr=1", [code]) == first
    code.write_text("x = 2\n")
    assert fingerprint("lr=1", [code]) != first

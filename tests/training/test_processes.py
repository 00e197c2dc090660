"""Several processes train as one does, and resume from the step of the first."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
import tiny

PROGRAM = Path(__file__).with_name("two_processes.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is of POSIX")
def test_two_processes_take_the_steps_of_one_with_twice_the_batch(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    tests = str(PROGRAM.parents[1])
    done = tiny.python(str(PROGRAM), str(tmp_path), port, PYTHONPATH=os.pathsep.join([str(Path(tests).parent), tests]))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["statuses"] == [0, 0], done.stderr
    assert result["starts"] == [2, 2] and result["disks"] == [True, False]
    # of the way that theta moved
    assert max(result["differences"]) < 0.02

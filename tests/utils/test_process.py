"""A command's process ends when its threads and exit handlers are done, without the interpreter's teardown."""

from pathlib import Path

import pytest

from tests.processes import PYTHON, run

# A worker thread waits to be told that the interpreter exits, as those of a compiler do; the object's destructor would
# run in the interpreter's teardown.
SCRIPT = """
import atexit, concurrent.futures, os, sys, threading, time
from wgan_dist.utils.process import exit_without_teardown


class TornDown:
    def __del__(self, write=os.write):
        write(1, b"torn down\\n")


sys.torn_down = TornDown()
pool = concurrent.futures.ThreadPoolExecutor(1)
pool.submit(print, "pool")
threading.Thread(target=lambda: (time.sleep(0.3), print("thread"))).start()
file = open("unflushed", "w")
atexit.register(file.close)
file.write("content")
atexit.register(print, "exit handler")
END
"""


@pytest.mark.parametrize("status", [0, 69])
def test_threads_and_exit_handlers_run_and_the_teardown_does_not(status: int, tmp_path: Path) -> None:
    script = SCRIPT.replace("END", f"exit_without_teardown({status})")
    assert run(*PYTHON, "-c", script, cwd=tmp_path, fails=status).stdout == "pool\nthread\nexit handler\n"
    assert (tmp_path / "unflushed").read_text() == "content"


def test_any_other_end_of_the_process_is_the_interpreters_own(tmp_path: Path) -> None:
    """Check that the test above would see a teardown."""
    stdout = run(*PYTHON, "-c", SCRIPT.replace("END", "sys.exit(3)"), cwd=tmp_path, fails=3).stdout
    assert stdout == "pool\nthread\nexit handler\ntorn down\n"

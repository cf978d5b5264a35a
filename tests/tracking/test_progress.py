"""The progress line on a terminal and in a pipe."""

import os
import pty
import select
import sys

import pytest

from tests.processes import HANG_SECONDS
from wgan_dist.tracking.progress import ProgressLine

END = "all is sent"


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what a progress line of two records sends to a real terminal."""
    main, terminal = pty.openpty()
    with open(terminal, "w", encoding="utf-8") as stream, monkeypatch.context() as patched:  # noqa: PTH123
        patched.setattr(sys, "stdout", stream)
        progress = ProgressLine(0, 4)
        for step in (1, 2):
            progress.show({"step": step, "wasserstein": 0.5})
        progress.close()
        print(END, end="", file=stream, flush=True)
        sent = b""
        # A terminal hands over what it has in any number of parts.
        while END.encode() not in sent and select.select([main], [], [], HANG_SECONDS)[0]:
            sent += os.read(main, 10_000)
    os.close(main)
    return sent.decode().removesuffix(END)


def test_a_terminal_has_one_line_that_is_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    sent = on_terminal(monkeypatch)
    assert sent.count("\r\x1b[Kstep ") == 2
    assert sent.count("\n") == 1
    assert "\x1b[" not in sent.replace("\x1b[K", "")  # nor is there a colour, whatever NO_COLOR says


def test_a_terminal_that_cannot_rewrite_has_a_line_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    sent = on_terminal(monkeypatch)
    assert [line.split()[1] for line in sent.splitlines()] == ["1/4", "2/4"]
    assert "\x1b" not in sent


def test_the_line_has_short_names_communication_and_skipped_updates(capsys: pytest.CaptureFixture[str]) -> None:
    communication = {"communication_bytes": 3 * 2**20, "communication_ms": 1.5, "communication_share": 0.25}
    record = {"step": 2, "critic_loss": 1.0, "wasserstein": 0.125, "critic_skipped": 1, "generator_skipped": 2}
    ProgressLine(0, 2).show(record | communication | {"fid": 7.0, "kid": 1.0, "images_per_second": 100.0})
    assert capsys.readouterr().out == (
        "step 2/2  W 0.125 FID 7 img/s 100 gradients 3 MiB in 1.5 ms, 25.0% of the time 3 updates skipped  "
        "0 s remaining\n"
    )

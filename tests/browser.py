"""A headless Chromium that opens pages and records their errors and requests."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, ViewportSize, sync_playwright

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
PHONE, PROJECTOR = (360, 740), (1920, 1080)
# Addresses that need no network.
LOCAL_SCHEMES = ("file:", "data:", "blob:", "about:")
MISSING = "no Chromium found: install it (Debian: apt-get install chromium) or run bash launch/test.sh --all as root"


@dataclass
class Visit:
    """An open page; `problems` are errors of its console and scripts, `requests` the network addresses it requested."""

    page: Page
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Start to record problems and requests."""
        self.page.on("console", lambda message: self.problems.append(message.text) if message.type != "log" else None)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self._note(request.url))

    def _note(self, url: str) -> None:
        if not url.startswith(LOCAL_SCHEMES):
            self.requests.append(url)


def find_chromium() -> str:
    """Return the path of Chromium. The test fails if it is not installed, so that it is not skipped unnoticed."""
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    return found or pytest.fail(MISSING)


@contextmanager
def visit(
    url: str,
    size: tuple[int, int],
    dark: bool = False,
    scripts: bool = True,
    flags: tuple[str, ...] = ("--disable-gpu",),
) -> Iterator[Visit]:
    """Open `url` in a window of `size` CSS pixels, width and height; `flags` are those of Chromium."""
    with sync_playwright() as playwright:
        program = find_chromium()
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", *flags])
        try:
            window = ViewportSize(width=size[0], height=size[1])
            scheme: Literal["dark", "light"] = "dark" if dark else "light"
            page = browser.new_page(viewport=window, color_scheme=scheme, java_script_enabled=scripts)
            found = Visit(page)
            found.listen()
            page.goto(url)
            yield found
        finally:
            browser.close()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder with `python -m http.server` and yield its address."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind=127.0.0.1", f"--directory={folder}"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        found = re.search(r"\((http://\S+/)\)", server.stdout.readline())
        assert found
        yield found[1]
    finally:
        server.kill()
        server.wait()
        server.stdout.close()  # type: ignore[union-attr]

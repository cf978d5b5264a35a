"""Work in the background, one piece at a time, whose errors are kept until somebody asks."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class BackgroundWriter:
    """A thread that does one piece of work at a time; the first error of any is kept for `check`."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    @property
    def failed(self) -> bool:
        """Whether something went wrong that `check` has not raised yet."""
        return self._error is not None

    @property
    def busy(self) -> bool:
        """Whether work is in flight."""
        return self._thread is not None and self._thread.is_alive()

    @contextmanager
    def keeping_errors(self) -> Iterator[None]:
        """What is raised in the block is kept for `check`; after the first error later ones are dropped."""
        try:
            yield
        except Exception as error:
            self._error = self._error or error

    def start(self, work: Callable[[], None]) -> None:
        """Wait for the work before, then begin this. After an error nothing is begun: `check` comes first."""
        self.wait()
        if not self.failed:
            self._thread = threading.Thread(target=self._do, args=(work,), name="wgan_dist.background_writer")
            self._thread.start()

    def _do(self, work: Callable[[], None]) -> None:
        with self.keeping_errors():
            work()

    def wait(self) -> None:
        """Return when nothing is in flight."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def check(self) -> None:
        """Raise what went wrong, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def finish(self) -> None:
        """Wait, then raise what went wrong."""
        self.wait()
        self.check()

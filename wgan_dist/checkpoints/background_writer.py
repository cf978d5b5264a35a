"""Work in a background thread, one task at a time, whose first error is kept until it is asked for."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class BackgroundWriter:
    """A thread that runs one task at a time and keeps the first error for `check`."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    @property
    def failed(self) -> bool:
        """Return whether there is an error that `check` has not raised yet."""
        return self._error is not None

    @contextmanager
    def keeping_errors(self) -> Iterator[None]:
        """Keep an exception of the block for `check`; errors after the first are dropped."""
        try:
            yield
        except Exception as error:
            self._error = self._error or error

    def start(self, task: Callable[[], None]) -> None:
        """Wait for the previous task, then start this one. After an error nothing starts until `check`."""
        self.wait()
        if not self.failed:
            self._thread = threading.Thread(target=self._run, args=(task,), name="wgan_dist.background_writer")
            self._thread.start()

    def _run(self, task: Callable[[], None]) -> None:
        with self.keeping_errors():
            task()

    def wait(self) -> None:
        """Wait until no task is running."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def check(self) -> None:
        """Raise the kept error, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def finish(self) -> None:
        """Wait, then raise the kept error."""
        self.wait()
        self.check()

"""The lock of a run folder: one process trains a run."""

import errno
from pathlib import Path

from filelock import FileLock, Timeout

from wgan_dist.checkpoints.run_dir import LOCK_FILE
from wgan_dist.utils.console import note
from wgan_dist.utils.errors import UserError

# What file systems without locks answer.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class RunLock:
    """The right of this process to write to a run.

    The operating system takes it back when the process ends, killed or not. The empty file stays, because a process
    that removes it could leave two others with a lock each.
    """

    def __init__(self) -> None:
        """Hold no run yet."""
        self._lock: FileLock | None = None

    @property
    def is_held(self) -> bool:
        """Return whether a run is held, or is on a file system without locks."""
        return self._lock is not None

    def acquire(self, folder: Path) -> None:
        """Hold the run in a folder that exists.

        Raises:
            UserError: If another process holds it, or the folder cannot be written.
        """
        self._lock = FileLock(folder / LOCK_FILE)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"run_dir={folder}: another process is training this run (if it is gone with its machine, remove "
                f"{folder / LOCK_FILE})"
            ) from None
        except (OSError, NotImplementedError) as error:  # the latter where the system has no locks at all
            if isinstance(error, OSError) and error.errno not in NO_LOCKS:
                raise UserError(f"cannot write {folder / LOCK_FILE}: {error.strerror or error}") from error
            note(f"{folder}: its file system has no locks; make sure that no other process trains this run")

    def close(self) -> None:
        """Release the run, if one is held."""
        if self._lock is not None:
            self._lock.release()

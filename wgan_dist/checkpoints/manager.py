"""The checkpoint manager: writes in the background, keeps the newest, and publishes generator files."""

from collections.abc import Callable
from pathlib import Path

from wgan_dist import distributed
from wgan_dist.checkpoints import best, generator_file
from wgan_dist.checkpoints.background_writer import BackgroundWriter
from wgan_dist.checkpoints.checkpoint import Snapshot, write_checkpoint
from wgan_dist.checkpoints.checkpoint_folders import prune
from wgan_dist.checkpoints.generator_file import EMA_FILE
from wgan_dist.checkpoints.run_dir import CHECKPOINTS
from wgan_dist.checkpoints.train_state import Best, TrainState
from wgan_dist.utils.files import copy_file, write_bytes


class CheckpointManager:
    """Write the checkpoints of a run and publish its generator files; `Checkpointing` decides when.

    Every process calls its methods; the first one writes. Training waits for the copy of all values to host memory
    and not for the disk. `finish` and `writer.check` raise an error of the background.
    """

    def __init__(
        self,
        run_dir: Path,
        keep: int,
        writer: BackgroundWriter,
        snapshot: Callable[[TrainState], Snapshot],
        check_weights: Callable[[TrainState], None],
        sync_records: Callable[[], None],
    ) -> None:
        """Configure the manager.

        Args:
            run_dir: The folder of the run.
            keep: The number of newest checkpoints to keep; the best one is kept besides.
            writer: Runs the writing in the background and keeps its errors.
            snapshot: Copies the values of the run.
            check_weights: Raises UserError for weights that must not be saved.
            sync_records: Flushes metrics to the disk: a checkpoint must not outlive the records before it.
        """
        self.run_dir, self.keep, self.writer = run_dir, keep, writer
        self.snapshot, self.check_weights, self.sync_records = snapshot, check_weights, sync_records
        self.is_main = distributed.world().is_main
        self.saved_position: tuple[int, int] | None = None

    def mark_saved(self, state: TrainState) -> None:
        """Note that the checkpoint of this state exists already."""
        self.saved_position = (state.step, state.critic_iteration)

    def save(self, state: TrainState) -> None:
        """Save the run, unless it is saved at this point already; return before the disk has it."""
        if self.saved_position == (state.step, state.critic_iteration):
            return
        self.check_weights(state)
        self.mark_saved(state)
        if not self.is_main:
            return
        self.writer.wait()  # one snapshot in memory at a time
        if not self.writer.failed:
            with self.writer.keeping_errors():
                snapshot, chosen = self.snapshot(state), state.best
                self.writer.start(lambda: self._write(snapshot, chosen))

    def save_now(self, state: TrainState) -> None:
        """Save the run and wait until it is on the disk."""
        self.save(state)
        self.finish()

    def finish(self) -> None:
        """Wait until everything is on the disk; raise an error of the background on every process."""
        distributed.broadcast_from_main(self.writer.finish)

    def _write(self, snapshot: Snapshot, chosen: Best | None) -> None:
        self.sync_records()
        folder = write_checkpoint(self.run_dir / CHECKPOINTS, snapshot)
        prune(folder.parent, self.keep, [chosen.checkpoint] if chosen else [])
        copy_file(folder / EMA_FILE, self.run_dir / EMA_FILE)
        if chosen and chosen.checkpoint == folder.name:
            best.publish(self.run_dir, chosen)

    def publish_again(self, state: TrainState) -> None:
        """Publish the generators of a resumed run again.

        A kill may have come between checkpoint and publication, and the settings that describe the averaged generator
        may have changed.
        """
        checkpoints, chosen = self.run_dir / CHECKPOINTS, state.best
        if self.saved_position:
            write_bytes(self.run_dir / EMA_FILE, generator_file.to_bytes(*self.snapshot(state).generators[EMA_FILE]))
        # The best checkpoint may be gone where a damaged one was left for an older; then it was published before.
        if chosen and (checkpoints / chosen.checkpoint).is_dir():
            best.publish(self.run_dir, chosen)

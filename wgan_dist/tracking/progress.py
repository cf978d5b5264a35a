"""The progress line: where a run is, its last metrics, and how long it still takes."""

import time
from typing import Any

from wgan_dist.tracking.metric_names import RECORDED
from wgan_dist.utils.console import STARTED, can_rewrite_lines, print_now, rewrite_line
from wgan_dist.utils.remaining_time import RemainingTime, duration_text


class ProgressLine:
    """A line with the step, the last metrics and the remaining time at the pace of the last minutes.

    A terminal shows one line that is rewritten in place; a file, a pipe and a terminal that cannot rewrite get a new
    line for each record. There are no colours.
    """

    def __init__(self, first_step: int, total_steps: int) -> None:
        self.first_step, self.total_steps = first_step, total_steps
        self.started = time.monotonic()
        self.remaining_time = RemainingTime(self.started, first_step)
        self.rewrites = can_rewrite_lines()

    def _remaining(self, step: int) -> str:
        return duration_text(self.remaining_time.estimate(time.monotonic(), step, self.total_steps))

    def first(self, step: int) -> None:
        """Estimate the time of the whole run after the first step of this process: the first record may be far off."""
        if step - self.first_step == 1 and step < self.total_steps:
            now = time.monotonic()
            print_now(
                f"first step took {now - self.started:.2g} s and ended {now - STARTED:.1f} s after the start; "
                f"about {self._remaining(step)} remaining"
            )

    def show(self, record: dict[str, Any]) -> None:
        """Print the line for a record of metrics."""
        values = [
            f"{metric.short_name} {record[name]:.4g}"
            for name, metric in RECORDED.items()
            if metric.short_name and name in record
        ]
        if "communication_ms" in record:
            values.append(
                f"gradients {record['communication_bytes'] / 2**20:.3g} MiB in {record['communication_ms']:.3g} ms, "
                f"{record['communication_share']:.1%} of the time"
            )
        if skipped := record.get("critic_skipped", 0) + record.get("generator_skipped", 0):
            values.append(f"{skipped} updates skipped")
        step = record["step"]
        line = f"step {step}/{self.total_steps}  {' '.join(values)}  {self._remaining(step)} remaining"
        (rewrite_line if self.rewrites else print_now)(line)

    def close(self) -> None:
        """End the line that is rewritten."""
        if self.rewrites:
            print_now("")

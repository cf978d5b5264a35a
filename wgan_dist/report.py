"""Command that compares runs on one HTML page."""

import functools

from wgan_dist.config import command_line
from wgan_dist.reporting.options import ReportOptions
from wgan_dist.utils.console import print_now

USAGE = """
Compare runs on one HTML page, which needs no network; its pictures are also written to a folder beside it.

  python -m wgan_dist.report runs/a runs/b --out=report.html  Write the page, and report_files/.
  python -m wgan_dist.report runs/a --gif --out=a.html  Add an animation of the samples during training.

Runs may be unfinished, and may differ in their data and methods.
"""


def report(options: ReportOptions) -> None:
    """Write the report that the options describe."""
    # Matplotlib and torch take seconds to import; they are not needed for --help or to check the options.
    from export.timing import time_file
    from wgan_dist.reporting.page import write_report

    write_report(options, functools.partial(time_file, own_class=options.generator), print_now)


if __name__ == "__main__":
    command_line.run_command("wgan_dist.report:report", ReportOptions, USAGE)

"""What processes agree on before a run begins."""

from pathlib import Path

from tests.processes import TORCHRUN_2, run

# Rank 1 has other images, as many or fewer.
SCRIPT = """
import numpy as np
from wgan_dist import distributed
from wgan_dist.data.datasets import ImageDataset
from wgan_dist.training.run import _check_same_data
from wgan_dist.utils.errors import UserError

distributed.start(threads=1)
rank = distributed.world().rank


def images(count, fingerprint):
    return ImageDataset("photos", np.zeros((count, 1, 2, 2), np.uint8), fingerprint, ())


_check_same_data(images(7, "same"))
for count in (7, 7 - rank):
    try:
        _check_same_data(images(count, f"files {rank}"))
    except UserError as error:
        assert "rank 1 has" in str(error) and "not the 7 of rank 0" in str(error), error
        print("refused")
distributed.leave()
distributed.end()
"""


def test_every_process_refuses_data_that_differ_between_processes(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text(SCRIPT)
    assert run(*TORCHRUN_2, "data.py", cwd=tmp_path).stdout.count("refused") == 4

"""Shares of a batch, and exchanges between two processes."""

import os
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.cluster.slurm import free_ports
from tests.processes import HANG_SECONDS, PYTHON, REPOSITORY, TORCHRUN_2, run
from wgan_dist import distributed
from wgan_dist.distributed import World, micro_batch_slices
from wgan_dist.utils.errors import UserError


@given(length=st.integers(1, 5), accumulation=st.integers(1, 4), size=st.integers(1, 8))
def test_micro_batch_slices_tile_the_batch_in_order(length: int, accumulation: int, size: int) -> None:
    batch = list(range(length * accumulation * size))
    mine = [micro_batch_slices(len(batch), accumulation, World(rank, size)) for rank in range(size)]
    assert [
        index for micro in range(accumulation) for rank in range(size) for index in batch[mine[rank][micro]]
    ] == batch


def test_a_batch_that_cannot_be_shared_equally_is_refused() -> None:
    with pytest.raises(UserError, match=r"batch_size=30: expected a multiple of 8 \(4 processes × accumulation 2\)"):
        micro_batch_slices(30, 2, World(0, 4))


def test_one_process_alone_exchanges_nothing() -> None:
    values = torch.arange(6.0).reshape(3, 2)
    assert distributed.world() == World(0, 1)
    assert distributed.rank_slice(3) == slice(0, 3)
    assert distributed.all_reduce_mean(values) is values
    assert distributed.AsyncMax().exchange(7) == 7
    assert distributed.gather(values) is values
    assert distributed.broadcast_from_main(lambda: "result") == "result"
    assert distributed.run_on_all_ranks(lambda: "result") == "result"
    assert distributed.all_gather_objects("value") == ["value"]
    distributed.barrier()
    distributed.leave()


# Run by both processes; any assertion that fails ends the launcher with status 1.
SCRIPT = """
import torch
from wgan_dist import distributed
from wgan_dist.utils.errors import UserError

distributed.start(threads=1)
rank = distributed.world().rank


def raised(function):
    try:
        function()
    except Exception as error:
        return type(error), str(error)


def fail_on(failing_rank):
    if rank == failing_rank:
        raise ValueError(f"rank {rank} failed")
    return rank


agreement = distributed.AsyncMax()
sent = [0, 0, 15 * rank, 0, 10, 0]  # from the fourth call on a process knows what rank 1 sent in the third
assert [agreement.exchange(value) for value in sent] == [0, 0, 0, 15, 0, 10]
assert agreement.finish() == 0
agreement.exchange(rank)
distributed.barrier()  # another exchange of the group, while one is under way
assert agreement.finish() == 1
assert distributed.all_reduce_mean(torch.tensor([1.0 + rank, 3.0])).tolist() == [1.5, 3.0]
assert [3, 4][rank] == len(range(7)[distributed.rank_slice(7)])
rows = torch.arange(20, dtype=torch.bfloat16).reshape(10, 2)[5 * rank : 5 * rank + 3 + rank]
gathered = distributed.gather(rows)
assert gathered.dtype == torch.bfloat16
assert gathered.tolist() == ([[2 * row, 2 * row + 1] for row in (0, 1, 2, 5, 6, 7, 8)] if rank == 0 else [])
assert distributed.broadcast_from_main(lambda: ("main", rank)) == ("main", 0)
assert distributed.run_on_all_ranks(lambda: rank) == rank
assert distributed.all_gather_objects(("of", rank)) == [("of", 0), ("of", 1)]
for failing in (0, 1):
    expected = (ValueError if rank == failing else UserError, f"rank {failing} failed")
    assert raised(lambda: distributed.run_on_all_ranks(lambda: fail_on(failing))) == expected
assert raised(lambda: distributed.broadcast_from_main(lambda: fail_on(0))) == (
    ValueError if rank == 0 else UserError,
    "rank 0 failed",
)
distributed.leave()
distributed.start(threads=1)  # a second run of the same processes
assert distributed.all_gather_objects(rank) == [0, 1]
distributed.leave()
print("agreed")
distributed.end()
"""


def test_two_processes_exchange_results_and_errors(tmp_path: Path) -> None:
    (tmp_path / "collectives.py").write_text(SCRIPT)
    assert run(*TORCHRUN_2, "collectives.py", cwd=tmp_path).stdout.count("agreed") == 2


# Run by three processes on two machines, which torchrun cannot start on one. Those who fill wait for each other.
FILL = """
import sys, time
from pathlib import Path
from wgan_dist import distributed
from wgan_dist.utils.errors import UserError

machine = sys.argv[1]
distributed.start(threads=1, timeout=60)
rank = distributed.world().rank


def fill(folder, fillers):
    meeting = Path("meeting") / folder.parent.name
    for place in (folder, meeting):
        place.mkdir(parents=True, exist_ok=True)
        (place / f"rank-{rank}").touch()
    while len(list(meeting.iterdir())) < fillers:
        time.sleep(0.01)
    return rank


def fail():
    raise UserError(f"rank {rank} cannot fill")


for folder, fillers in ((Path("shared/cache"), 1), (Path(machine) / "own/cache", 2)):
    filler = distributed.fill_folder(folder, lambda: fill(folder, fillers))
    print(filler, *(path.name for path in folder.glob("rank-*")))
    try:
        print(distributed.fill_folder(folder, fail if rank else lambda: "filled"))
    except UserError as error:
        print(error)
distributed.leave()
distributed.end()
"""


def test_each_folder_is_filled_once_and_all_at_the_same_time(tmp_path: Path) -> None:
    (tmp_path / "fill.py").write_text(FILL)
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_ports(1)[0]), "PYTHONPATH": str(REPOSITORY)}
    processes = []
    for rank, (machine, local_rank, local_size) in enumerate([("a", 0, 1), ("b", 0, 2), ("b", 1, 2)]):
        world = {"RANK": rank, "WORLD_SIZE": 3, "LOCAL_RANK": local_rank, "LOCAL_WORLD_SIZE": local_size}
        environment = os.environ | shared | {name: str(value) for name, value in world.items()}
        command = (*PYTHON, "fill.py", machine)
        processes.append(subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True))
    first, *others = (process.communicate(timeout=HANG_SECONDS)[0].splitlines() for process in processes)
    assert first == ["0 rank-0", "filled", "0 rank-0", "rank 1 cannot fill"]
    assert others == [["0 rank-0", "filled", "0 rank-1", "rank 1 cannot fill"]] * 2
    assert not list(tmp_path.rglob(".*"))

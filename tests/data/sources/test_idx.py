import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.data.sources.listings import all_levels, idx, opened, source_of, write_idx
from wgan_dist.data.sources.base import read_image
from wgan_dist.data.sources.idx import read_idx
from wgan_dist.data.sources.registry import open_source
from wgan_dist.utils.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 3, 5), np.uint8)


def test_the_identity_of_idx_files_changes_with_them(tmp_path: Path) -> None:
    file = tmp_path / "train-images-idx3-ubyte"
    write_idx(file, 1, 2)
    before = source_of(tmp_path)
    write_idx(file, 1, 3)
    os.utime(file, ns=(0, 12345))
    after = source_of(tmp_path)
    assert before.identity != after.identity
    assert source_of(tmp_path).identity == after.identity


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_an_idx_file_is_read_as_it_was_written(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"images-idx3-ubyte{suffix}"
    file.write_bytes(gzip.compress(idx(PIXELS)) if suffix else idx(PIXELS))
    assert (read_idx(file) == PIXELS).all()
    source = opened(tmp_path)
    assert source.names == [f"{file.name}[0]", f"{file.name}[1]"]
    assert (read_image(source, 1, np.asarray) == PIXELS[1]).all()


def damaged_gzip() -> bytes:
    content = bytearray(gzip.compress(idx(PIXELS)))
    content[10] ^= 0x55  # the first byte of the compressed stream
    return bytes(content)


LABELS = np.zeros(2, np.uint8)

LIES = {
    "more images than it holds": (idx(PIXELS)[:-1], ""),
    "fewer images than it holds": (idx(PIXELS) + b"\0", ""),
    "images of no pixels without end": (struct.pack(">HBBIII", 0, 8, 3, 2**32 - 1, 0, 0), ""),
    "a product that overflows": (struct.pack(">HBBIII", 0, 8, 3, 2**31, 2**31, 4), ""),
    "pixels of another kind": (idx(PIXELS, kind=9), ""),
    "labels": (idx(LABELS), ""),
    "labels as long as a header": (idx(np.zeros(8, np.uint8)), ""),
    "another number of dimensions": (idx(PIXELS).replace(b"\3", b"\4", 1), ""),
    "no magic number": (b"\1" + idx(PIXELS)[1:], ""),
    "half a header": (idx(PIXELS)[:10], ""),
    "nothing": (b"", ""),
    "no gzip": (idx(PIXELS), ".gz"),
    "half a gzip": (gzip.compress(idx(PIXELS))[:-20], ".gz"),
    "a damaged gzip": (damaged_gzip(), ".gz"),
    "a gzip of a wrong sum": (gzip.compress(idx(PIXELS))[:-8] + bytes(8), ".gz"),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_invalid_idx_file_is_refused(tmp_path: Path, lie: str) -> None:
    content, suffix = LIES[lie]
    file = tmp_path / f"images-idx3-ubyte{suffix}"
    file.write_bytes(content)
    with pytest.raises(UserError, match=str(file)):
        read_idx(file)


def test_the_training_part_is_preferred_to_the_test_part(tmp_path: Path) -> None:
    write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", 1)
    assert all_levels(opened(tmp_path)) == [1]
    write_idx(tmp_path / "train-images-idx3-ubyte", 2, 3)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS))
    assert all_levels(opened(tmp_path)) == [2, 3]


def test_an_idx_file_beside_its_compressed_copy_counts_once(tmp_path: Path) -> None:
    """torchvision leaves both files after a download."""
    write_idx(tmp_path / "train-images-idx3-ubyte", 2, 3)
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", 2, 3)
    assert all_levels(opened(tmp_path)) == [2, 3]


def test_several_idx_files_are_joined_in_the_order_of_their_names(tmp_path: Path) -> None:
    write_idx(tmp_path / "b.idx3-ubyte", 3)
    write_idx(tmp_path / "a-idx3-ubyte.gz", 1, 2)
    assert all_levels(opened(tmp_path)) == [1, 2, 3]


def test_the_embedded_digits_are_those_of_scikit_learn(tmp_path: Path) -> None:
    source = open_source("digits", tmp_path)
    images = source.list_images()
    pixels = np.stack([read_image(images, index, np.asarray) for index in range(len(images.names))])
    assert (pixels == np.rint(load_digits().images * 255 / 16)).all()
    assert source.name == "digits"

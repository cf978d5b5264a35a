"""Arrays and TIFF files made to do harm, and what reads them: training on images, training on points, and inspect."""

import io
import struct
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.hostile.bombs import Bomb
from tests.faults.hostile.case import Case, Place
from tests.faults.tiny import SETTINGS
from wgan_dist.data.inspect import print_summary
from wgan_dist.data.inspect_settings import InspectSettings
from wgan_dist.train import train

PAGES = 40_000
POINTS = {"recipe": "toy_8gaussians", "generator_features": "8", "critic_features": "8", "batch_size": "2"}


def npy(values: Any) -> bytes:
    """A .npy file, which of objects is a pickle."""
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def with_header(shape: str, descr: str = "<f4", data: bytes = b"") -> bytes:
    """A .npy file whose header says anything."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def npz(content: bytes, times: int = 1) -> bytes:
    """A .npz file of one member, the content repeated."""
    buffer = io.BytesIO()
    archive = zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open("a.npy", "w", force_zip64=True) as member:
        for _ in range(times):
            member.write(content)
    return buffer.getvalue()


def claiming(content: bytes, size: int) -> bytes:
    """A zip of one member whose directory claims another size of what is unpacked."""
    entry = content.rindex(b"PK\x01\x02")
    return content[: entry + 24] + struct.pack("<I", size) + content[entry + 28 :]


def tiff(pages: int) -> bytes:
    """A TIFF of pages of one pixel, all of one strip."""
    directory = struct.calcsize("<H" + 8 * "HHII" + "I")
    content = bytearray(b"II*\0" + struct.pack("<I", 8))
    for page in range(pages):
        after = 8 + (page + 1) * directory if page + 1 < pages else 0
        tags = ((256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 0), (278, 1), (279, 1))
        content += struct.pack("<H", len(tags))
        content += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        content += struct.pack("<I", after)
    return bytes(content)


def arrays(pwned: Path) -> Iterator[tuple[str, str, bytes]]:
    """Names and contents of files given as data, of images [n, h, w] and of points [n, d]."""
    bomb = np.empty((2, 2), object)
    bomb[:] = Bomb(pwned)
    zeros = bytes(1 << 20)
    for suffix, packed in ((".npy", bytes), (".npz", npz)):
        yield f"objects in {suffix}", f"a{suffix}", packed(npy(bomb))
        for axes, shape in (("images", (2, 8, 8)), ("points", (8, 3))):
            for value in (np.nan, np.inf):
                wrong = np.zeros(shape)
                wrong.flat[5] = value
                yield f"{value} in {axes} in {suffix}", f"a{suffix}", packed(npy(wrong))
            whole = npy(np.ones(shape))
            yield f"{axes} cut short in {suffix}", f"a{suffix}", packed(whole[:-9])
            yield f"a header of {axes} cut short in {suffix}", f"a{suffix}", packed(whole[:40])
            yield f"{axes} of an empty axis in {suffix}", f"a{suffix}", packed(npy(np.zeros((*shape[:-1], 0))))
        for claim in ("(1000000000000, 1000000000000)", "(1099511627776, 2)", "(4, 1000000, 1000000)", "(-2, -2)"):
            yield f"a shape of {claim} in {suffix}", f"a{suffix}", packed(with_header(claim, data=bytes(99)))
        yield f"a type of 2^31 bytes in {suffix}", f"a{suffix}", packed(with_header("(2, 2)", "V2147483647"))
        nested = with_header("(" * 9_000 + ")" * 9_000)
        yield f"a shape nested 9,000 deep in {suffix}", f"a{suffix}", packed(nested)
        long = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1)
        yield f"a header of 2^32 bytes in {suffix}", f"a{suffix}", packed(long + bytes(1 << 20))
    yield "a .npz that unpacks to 2 GiB", "a.npz", npz(zeros, 2048)
    yield (
        "a .npz that unpacks to 100 MB and claims 500 bytes",
        "a.npz",
        claiming(npz(npy(np.zeros((9, 9))) + zeros * 99), 500),
    )
    yield "a .npz of two arrays", "a.npz", _two()
    yield "a .npz that is no zip", "a.npz", zeros
    yield f"a TIFF of {PAGES:,} pages", "a.tif", tiff(PAGES)


def _two() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros((2, 2)), b=np.zeros((2, 2)))
    return buffer.getvalue()


def mixed(folder: Path) -> Path:
    """A folder of arrays of other shapes, types and contents."""
    folder.mkdir()
    shapes: list[tuple[int, ...]] = [(5, 8, 8), (8, 8), (3, 9, 9), (2, 2, 2, 2), (7,), (0, 8)]
    for number, shape in enumerate(shapes):
        np.save(folder / f"{number}.npy", np.ones(shape, np.float32))
    np.save(folder / "8.npy", np.full((5, 8, 8), np.nan))
    (folder / "9.npy").write_bytes(npy(np.ones((5, 8, 8)))[:-7])
    return folder


def array_cases(place: Place) -> Iterator[Case]:
    """Arrays given as data."""
    for name, file, content in arrays(place.pwned):
        data = place.file(file, content)
        run = {"data": str(data), "cache_dir": str(data.parent / "cache"), "run_dir": str(data.parent / "run")}
        yield Case(f"array: {name}, as images", partial(train, SETTINGS | run))
        yield Case(f"array: {name}, as points", partial(train, POINTS | run | {"max_steps": "1"}))
        if "cut" in name or "shape" in name or "unpacks" in name:
            settings = InspectSettings(data=(str(data),), cache_dir=run["cache_dir"])
            yield Case(f"array: {name}, inspected", partial(print_summary, settings))
    folder = mixed(place.fresh() / "arrays")
    run = {"data": str(folder), "cache_dir": str(folder.parent / "cache"), "run_dir": str(folder.parent / "run")}
    yield Case("array: a folder of other shapes", partial(train, SETTINGS | run))

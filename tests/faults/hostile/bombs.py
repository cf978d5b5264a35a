"""Content that does something where it is unpickled or unpacked."""

import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

PWNED = "pwned"


class Bomb:
    """Leaves a file where it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.place),))


def pickle_bomb(place: Path) -> bytes:
    """Content that makes the folder `place` when it is unpickled."""
    return pickle.dumps(Bomb(place))


def zip_bomb(place: Path) -> bytes:
    """As torch.save writes it: a zip whose data.pkl makes the folder `place`, a name that leaves, and a gigabyte."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle_bomb(place))
        archive.writestr(f"../../{PWNED}", "outside")
        archive.writestr("archive/data/0", bytes(50 << 20))
    return buffer.getvalue()


def tar_slip(place: Path) -> bytes:
    """A tar whose members leave the folder, by name and by link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in (f"../../{PWNED}", str(place)):
            archive.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/"
        archive.addfile(link)
    return buffer.getvalue()

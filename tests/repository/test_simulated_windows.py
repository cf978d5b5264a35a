"""A simulated Windows: on Linux, Python loses what it lacks on Windows. No test has run on Windows itself."""

import ast
import sys
from pathlib import Path

from tests.conftest import TINY
from tests.data.files import png, write_tar
from tests.processes import REPOSITORY, run
from wgan_dist.checkpoints.generator_file import EMA_FILE

PACKAGES = ("wgan_dist", "export")
# Modules that Windows lacks. Libraries guard their imports, and need them here, so that they stay importable.
UNIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
SIMULATION = """
import os, signal, stat, sys
import accelerate, onnxruntime, torchvision  # libraries choose what they call by the platform, which is not changed
import torch.utils.tensorboard, torch.distributed.elastic.multiprocessing.errors, webdataset, multiprocess.context

for name in ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGKILL", "SIGALRM", "SIGQUIT", "SIGSTOP", "SIGCONT", "SIGCHLD"):
    delattr(signal, name)
for name in ("O_DIRECTORY", "pread", "pwrite", "sched_getaffinity", "sysconf", "geteuid", "getuid", "mkfifo", "killpg"):
    delattr(os, name)
system_open, system_fsync, read_only = os.open, os.fsync, set()

def windows_open(path, flags, *arguments, **named):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", path)
    descriptor = system_open(path, flags, *arguments, **named)
    (read_only.discard if flags & (os.O_WRONLY | os.O_RDWR) else read_only.add)(descriptor)
    return descriptor

def windows_fsync(descriptor):
    if descriptor in read_only:
        raise OSError(9, "Bad file descriptor")
    system_fsync(descriptor)

os.open, os.fsync = windows_open, windows_fsync

import importlib, pkgutil
for package in ("wgan_dist", "export"):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

import runpy
runpy.run_module(sys.argv[0], run_name="__main__")
"""


def simulate(*arguments: str, cwd: Path) -> str:
    code = SIMULATION.replace("import os,", "import sys; sys.argv = sys.argv[1:]; import os,", 1)
    return run(sys.executable, "-c", code, *arguments, cwd=cwd).stdout


def test_no_module_imports_what_only_unix_has() -> None:
    for package in PACKAGES:
        for path in (REPOSITORY / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not UNIX_MODULES.intersection(name.partition(".")[0] for name in names), path


def test_a_run_on_an_archive_is_trained_and_saved_in_the_simulation(tmp_path: Path) -> None:
    write_tar(tmp_path / "photos.tgz", {f"{level}.png": png(level) for level in range(32)})
    settings = TINY | {"data": "photos.tgz", "image_size": "16", "max_steps": "2", "run_dir": "run", "cache_dir": "c"}
    out = simulate("wgan_dist.train", *(f"--{name}={value}" for name, value in settings.items()), cwd=tmp_path)
    assert "32 images of photos" in out
    assert (tmp_path / "run" / EMA_FILE).is_file()
    assert (tmp_path / "run" / "checkpoints" / "step-00000002").is_dir()

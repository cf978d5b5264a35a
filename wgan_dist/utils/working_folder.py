"""Keep commands from importing from the working folder, except for a class that the user named.

`python -m` puts the working folder first on the path of imports, so that a `yaml.py` beside somebody's images would be
run in place of the library. This module imports nothing that such a file could replace.
"""

import importlib
import os
import sys

PACKAGES = ("wgan_dist", "export")


def _runs_command() -> bool:
    """Return True while Python looks for a module of this package that `python -m` names: sys.argv[0] is -m then."""
    if sys.argv[:1] != ["-m"]:
        return False
    module = sys.orig_argv[-len(sys.argv)]
    if module.startswith("-"):  # as in -mwgan_dist.train
        module = module.partition("m")[2]
    return module.partition(".")[0] in PACKAGES


IS_COMMAND = _runs_command()


def _is_working_folder(path: str) -> bool:
    return os.path.isdir(path) and os.path.samefile(path, os.curdir)  # noqa: PTH112, PTH121 pathlib is not imported yet


def leave() -> None:
    """Remove the working folder from the path of imports of a command and of the Python processes that it starts.

    It stays if this package itself is imported from it, as in a clone, and if PYTHONPATH names it.
    """
    package_parent = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
    if not IS_COMMAND or _is_working_folder(package_parent):
        return
    if not sys.flags.safe_path and _is_working_folder(sys.path[0]):
        del sys.path[0]
    os.environ["PYTHONSAFEPATH"] = "1"


def import_named_module(name: str) -> object:
    """Import the module of a class that the user named, in a command also from the working folder, last of all.

    The folder stays at the end of the path, since the module may import others when it is used. Raises what the import
    raises.
    """
    folder = os.getcwd()  # noqa: PTH109
    if IS_COMMAND and folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)

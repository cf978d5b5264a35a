"""Files that are no images by their names, such as notes and tables; sources leave them out and count them."""

from collections import Counter
from collections.abc import Iterable, Mapping

NPY = ".npy"
TEXTS = (".txt", ".md", ".rst", ".rtf", ".doc", ".docx", ".odt", ".pdf", ".tex", ".bib", ".html", ".htm", ".css", ".js")
TABLES = (".csv", ".tsv", ".xls", ".xlsx", ".ods", ".json", ".jsonl", ".ndjson", ".xml", ".xmp")
ARRAYS = (".parquet", ".arrow", NPY, ".npz", ".mat", ".pkl", ".pickle", ".pt", ".pth", ".h5", ".hdf5", ".db")
PROGRAMS = (".py", ".ipynb", ".sh", ".bat", ".ps1", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".log")
RECORDINGS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".wmv", ".mp3", ".wav", ".m4a", ".ogg")
OTHERS = (".aae", ".thm", ".lnk", ".url", ".torrent", ".part", ".tmp", ".bak", ".lock", ".md5", ".sha256", ".asc")
# A file of any other name is tried as an image, so that a damaged one and an unknown format are reported.
SUFFIXES = frozenset((*TEXTS, *TABLES, *ARRAYS, *PROGRAMS, *RECORDINGS, *OTHERS))
NAMES = frozenset(
    ("readme", "license", "licence", "copying", "notice", "authors", "changelog", "citation", "makefile", "dockerfile")
    + ("md5sums", "sha1sums", "sha256sums", "thumbs.db:encryptable", "icon\r")
)


def suffix_of(name: str) -> str:
    """Return the last suffix of a path with `/`, in lower case and with its dot, or "" if there is none."""
    base = name.rpartition("/")[2].lower()
    stem, dot, suffix = base.rpartition(".")
    return dot + suffix if stem else ""


def may_be_image(name: str) -> bool:
    """Return whether a file with this path, with `/`, may be an image: unless its suffix or name says otherwise."""
    return suffix_of(name) not in SUFFIXES and name.rpartition("/")[2].lower() not in NAMES


def may_be_in_folder(name: str) -> bool:
    """Return whether a file of a folder may be an image; there a .npy file is one, unlike in an archive or shard."""
    return may_be_image(name) or suffix_of(name) == NPY


def count_by_suffix(names: Iterable[str]) -> Counter[str]:
    """Return how many of these files have each suffix; files without a suffix count under their names."""
    return Counter(suffix_of(name) or name.rpartition("/")[2].strip() for name in names)


def add_up(left_out: Iterable[Mapping[str, int]]) -> Counter[str]:
    """Return how many files of all sources have each suffix."""
    return sum(map(Counter[str], left_out), Counter[str]())


def only_others(left_out: Mapping[str, int]) -> str:
    """Return what follows "holds no image": the files that are there, or nothing if there are none."""
    return f", but {left_out_line(left_out)}" if left_out else ""


def left_out_line(left_out: Mapping[str, int]) -> str:
    """Return in words how many files of which suffixes are no images, the most frequent first."""
    by_count = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    counts = ", ".join(f"{suffix} {count:,}" for suffix, count in by_count)
    total = sum(left_out.values())
    return f"{total:,} {'file that is no image' if total == 1 else 'files that are no images'}: {counts}"

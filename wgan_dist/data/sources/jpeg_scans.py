"""The number of scans of a JPEG, each of which costs as much time as all pixels do, however few bytes it has."""

import re

# Five times the scans of libjpeg's progression.
MAX_SCANS = 50
# The markers of a file, of which each scan has a few for its tables, and profiles have some hundreds.
MAX_MARKERS = 1000
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
# A marker that begins a segment with a length, or ends the image. FF is followed by 0 where it is a value, and the
# other codes that are left out have no segment.
MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)


def has_too_many_scans(content: bytes) -> bool:
    """Return whether a JPEG has more than MAX_SCANS scans, or MAX_MARKERS markers.

    Neither a preview, which is within a segment, nor a video behind the end of the image has any of them.
    """
    if content.count(bytes((0xFF, START_OF_SCAN))) <= MAX_SCANS:
        return False
    position, scans = 2, 0
    for _ in range(MAX_MARKERS):
        marker = MARKER.search(content, position)
        if marker is None or marker[1][0] == END_OF_IMAGE:
            return scans > MAX_SCANS
        scans += marker[1][0] == START_OF_SCAN
        position = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2])
    return True

"""Where and when a recording was made, as recorders write it into headers.

Sources: openacousticdevices.info (AudioMoth); the GUANO metadata specification 1.0.
"""

import re
from contextlib import suppress

from birdcache.audio.decoder import decoder
from birdcache.audio.rejected import RejectedAudio
from birdcache.storage import AnyPath

_FORMS = (
    r"Recorded at (?P<time>\S+) (?P<d>\d\d)/(?P<m>\d\d)/(?P<y>\d{4})",  # AudioMoth
    r"Recorded at .*(?:AudioMoth|deployment) (?P<site>[0-9A-F]{16})",
    r"(?m:^)Timestamp: *(?P<date>\d{4}-\d\d-\d\d)[T ](?P<time>[0-9:]{5,8})",  # GUANO
    r"(?m:^)(?:.*\|)?Serial: *(?P<site>\S.*)",
)


def comment_of(file: AnyPath) -> str:
    """What a recorder wrote into the header; "" of a file that cannot be read, which others refuse."""
    with suppress(RejectedAudio):
        return decoder().info(file).comment
    return ""


def noted_place(comment: str) -> dict[str, str]:
    """Site, date (YYYY-MM-DD) and time (HH:MM:SS), as far as a comment tells them."""
    matches = filter(None, (re.search(form, comment) for form in _FORMS))
    found = {name: text for match in matches for name, text in match.groupdict().items()}
    return found | ({"date": "{y}-{m}-{d}".format(**found)} if "y" in found else {})

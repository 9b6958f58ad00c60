"""A short form of the trial of decode bombs, and that it notices memory and wrong codes."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from pipeline.dataset.scan import Scan
from tests.torture import bombs
from tests.torture.bomb_files import BOMBS, comment, giant_codebooks, stream, vorbis
from tests.torture.bombs import MOST_BYTES, Verdict, wrong

pytestmark = pytest.mark.slow

patch = setattr  # in a process that ends with its trial


def test_bombs_are_refused_or_decoded_within_the_limit() -> None:
    outcome = bombs.trial(8, hours=0.02)
    assert (outcome.failed, outcome.worst) == (0, "none")
    assert outcome.tried >= 8


def swelling() -> None:
    """In place of a look at the file, 1.2 GB of memory in the decoder's parent."""

    def swollen(path: object, data: object) -> Scan:
        return Scan(code="damaged", detail=str(len(bytearray(12 * 10**8))))

    patch(bombs, "scan_file", swollen)


def test_trial_notices_too_much_memory() -> None:
    outcome = bombs.trial(1, hours=0.02, prepare=swelling)
    assert outcome.failed == 1
    assert outcome.worst.startswith("Ogg that says to last six days: took 1,")


def test_verdicts_are_right_only_with_the_right_code_and_little_memory() -> None:
    bomb = BOMBS["FLAC of hours of silence"]
    assert wrong(bomb, Verdict("silent", 1, MOST_BYTES, MOST_BYTES)) == ""
    assert wrong(bomb, Verdict("accepted", 1, 1, 1)) == "accepted, expected silent"
    assert wrong(bomb, Verdict("silent", 1, MOST_BYTES + 1, 1)) == "took 1,024 MiB"
    assert wrong(bomb, Verdict("silent", 1, 1, 2 * MOST_BYTES)) == "took 2,048 MiB"


def test_bombs_are_made_of_what_is_good_otherwise(tmp_path: Path) -> None:
    headers, parts = vorbis()
    (tmp_path / "good.ogg").write_bytes(stream(headers, parts))
    assert soundfile.info(tmp_path / "good.ogg").frames == 4000
    headers[1] = comment(1000, 10)
    (tmp_path / "comment.ogg").write_bytes(stream(headers, parts))
    assert soundfile.info(tmp_path / "comment.ogg").frames == 4000
    assert len(giant_codebooks()) < 2000


def test_late_and_killed_are_never_right() -> None:
    assert not any({"late", "killed its parent"} & set(bomb.codes) for bomb in BOMBS.values())

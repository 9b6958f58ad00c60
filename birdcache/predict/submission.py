"""Submissions in the form of each year's BirdCLEF, as its sample_submission.csv shows it. W window, K class.

- 2021: `row_id` (`7019_COR_5` of `7019_COR_20190904.ogg`) and `birds`, all that are heard or `nocall`.
- 2022: `row_id` (`soundscape_<id>_<label>_<second>`) and `target`, True or False; its labels are in scored_birds.json.
- Since 2023: `row_id` (`<soundscape>_<second>`) and a score for each label.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from birdcache.arrays import Floats32
from birdcache.audio.paths import Bounds
from birdcache.csv_records import read_header, read_records
from birdcache.errors import PipelineError
from birdcache.labels import LABEL_RULE, is_label
from birdcache.storage import AnyPath
from birdcache.text import counted, few

SAMPLE, SCORED = "sample_submission.csv", "scored_birds.json"
ROW_ID, BIRDS, TARGET, NO_CALL = "row_id", "birds", "target", "nocall"
_DATE = re.compile(r"_[0-9]{8}$")  # at the end of a soundscape's name, which row ids of 2021 leave out


@dataclass(frozen=True)
class SubmissionForm:
    """The labels of a submission in order, and the only column beside row_id: birds, target, or "" for one each."""

    labels: Sequence[str]
    column: str = ""

    @property
    def columns(self) -> list[str]:
        """Row 1."""
        return [ROW_ID, *([self.column] if self.column else self.labels)]

    def rows(
        self, row_ids: Sequence[str], scores_WK: Floats32, labels: Sequence[str], above_K: Floats32
    ) -> Iterator[list[str]]:
        """Rows of windows; labels without scores have 0, and birds or True are what scores at least above_K."""
        places = [(label, labels.index(label) if label in labels else None) for label in self.labels]
        for row_id, scores_K, called_K in zip(row_ids, scores_WK, scores_WK >= above_K, strict=True):
            name, _, end = row_id.rpartition("_")
            called = [(label, k is not None and bool(called_K[k])) for label, k in places] if self.column else []
            if self.column == BIRDS:
                heard = " ".join(label for label, is_called in called if is_called and label != NO_CALL)
                yield [f"{self._beginning(name)}_{end}", heard or NO_CALL]
            elif self.column == TARGET:
                yield from ([f"{name}_{label}_{end}", str(is_called)] for label, is_called in called)
            else:
                yield [row_id, *(f"{0.0 if k is None else scores_K[k]:.6f}" for _, k in places)]

    def missing(self, labels: Sequence[str]) -> str:
        """A warning if no model knows some of its labels, else ""."""
        unknown = [label for label in self.labels if label not in set(labels)]
        score = counted(len(unknown), "submission labels", "score")
        return f"{score} 0, being unknown: {few(unknown, 5)}" if unknown else ""

    def check_apart(self, files: Iterable[tuple[str, AnyPath]], hint: str) -> None:
        """Refuse files, after their names without extension, of which rows would have the same ids."""
        first: dict[str, AnyPath] = {}
        for name, file in ((self._beginning(name), file) for name, file in files):
            if name in first:
                why = f"both would have rows {name}_<second> in a submission{' of 2021' * (self.column == BIRDS)}"
                raise PipelineError(f"{first[name]}, {file}: {why}; {hint}")
            first[name] = file

    def _beginning(self, name: str) -> str:
        return _DATE.sub("", name) if self.column == BIRDS else name


def read_form(path: AnyPath, bounds: Bounds) -> SubmissionForm:
    """The form of a sample_submission.csv, without labels if nothing names them.

    A PipelineError if row 1, or scored_birds.json beside it, cannot be that of a submission.
    """
    header, scored = read_header(path, bounds), path.parent / SCORED
    labels, column = header[1:], header[1] if header[1:] in ([BIRDS], [TARGET]) else ""
    if column == TARGET and scored.exists():
        path, records = scored, (record for _, record in read_records(scored, bounds))
        labels = list(dict.fromkeys(filter(None, (cell.strip(' []"') for record in records for cell in record))))
    elif len(labels) < 2:
        return SubmissionForm((), column)
    elif header[0] != ROW_ID or len(set(labels)) != len(labels):
        raise PipelineError(f"{path}: row 1 must be row_id and then each label once; correct it, or remove the file")
    if bad := [label for label in labels if not is_label(label)]:
        raise PipelineError(f"{path}: row 1: {few(bad)} cannot be labels; {LABEL_RULE}; correct it, or remove the file")
    return SubmissionForm(tuple(labels), column)

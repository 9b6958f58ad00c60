"""Sections of params.yaml that hold plain values: data, folds, predict, ensemble, export, report, machine ...

Nothing here computes: a file is refused, or its values stay as they are, so that no result depends on this code.
"""

from operator import ge, le
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from birdcache.audio.formats.header import LONGEST_S
from birdcache.files import is_inner_path
from birdcache.labels import LABEL_RULE, is_label
from birdcache.params.checks import beside, each_once, is_kernel, kept, tells_place

LARGEST = 10**9  # no number is of use beyond; arithmetic that follows stays within what floats and arrays hold


class Section(BaseModel):
    """A frozen part of params.yaml: unknown keys, missing keys and wrong types are refused, nan and inf, too."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=LARGEST)]
NonNegative = Annotated[float, Field(ge=0, le=LARGEST)]
Count = Annotated[int, Field(ge=1, le=LARGEST)]
CountOrNone = Annotated[int, Field(ge=0, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # of numpy and scikit-learn
Decibels = Annotated[float, Field(ge=0, le=200)]
Label = Annotated[str, kept(is_label, LABEL_RULE)]
Seconds = Annotated[float, Field(ge=0.01, le=3600)]
INNER_RULE = "must be a path below root, without ..; move it there, or link it and set links: anywhere"
InnerPath = Annotated[str | None, kept(lambda path: path is None or is_inner_path(path), INNER_RULE)]
InnerPaths = Annotated[
    list[Annotated[str, kept(is_inner_path, INNER_RULE)]], Field(min_length=1), each_once("a folder")
]

TableColumn = Literal["label", "file", "secondary", "author", "rating", "latitude", "longitude", "date", "fold"]
NameColumn = Literal["scientific_name", "common_name", "class_name"]
OF_LAYOUT = beside("layout", lambda value, layout: not value or layout == "birdclef", "is of layout birdclef, not {}")
Table = Annotated[InnerPath, OF_LAYOUT]
Columns = Annotated[Literal["xeno-canto"] | dict[TableColumn | NameColumn, str], OF_LAYOUT]


class DemoParams(Section):
    """A synthetic dawn chorus (stage `demo`)."""

    seed: Seed
    species: Annotated[int, Field(ge=12, le=16)]
    most_recordings: Annotated[int, Field(ge=3, le=10_000)]
    fewest_recordings: Annotated[
        int, Field(ge=1), beside("most_recordings", le, "must be at most most_recordings ({}); lower it")
    ]
    soundscapes: Annotated[int, Field(ge=0, le=10_000)]
    unlabelled: Annotated[int, Field(ge=0, le=10_000)]
    labelled: Annotated[int, Field(ge=0, le=9999)] = 0


OF_SOUNDSCAPES = beside(
    "soundscapes",
    lambda table, folder: table is None or folder is not None,
    "needs soundscapes; name their folder, or set this to null",
)


PATTERN = kept(
    tells_place,
    "must be a regular expression with groups (?P<site>...), (?P<date>...) or both, and perhaps (?P<time>...)",
)


class SourceParams(Section):
    """A further root of recordings, beside `data.root` (docs/data.md)."""

    layout: Literal["birdclef", "folders", "files"]
    root: Annotated[str, Field(min_length=1)]
    table: Table = None
    columns: Columns = {}
    labels: dict[str, Label | None] = {}
    label: Annotated[
        Label | None,
        Field(validate_default=True),
        beside("layout", lambda label, layout: label is not None or layout != "files", "must be given in layout {}"),
        beside("labels", lambda label, labels: label is None or not labels, "makes labels {} needless; leave one out"),
    ] = None
    least_rating: Annotated[float, Field(ge=0, le=5)] = 0.0
    weight: Annotated[Positive, Field(ge=1e-3, le=1e3)] = 1.0
    knows: Annotated[list[str], Field(min_length=1), each_once("a label")] | None = None
    validated: bool = True


class DataParams(Section):
    """Place and layout of the recordings (stage `recordings`)."""

    layout: Literal["birdclef", "folders", "annotations"]
    root: Annotated[str, Field(min_length=1)]
    table: Table = None
    columns: Columns = {}
    annotations: Annotated[str, Field(min_length=1)]
    soundscapes: InnerPath | InnerPaths
    soundscape_truth: Annotated[InnerPath, OF_SOUNDSCAPES]
    soundscape_labels: Annotated[InnerPath, OF_SOUNDSCAPES] = None
    soundscape_names: Annotated[Annotated[str, Field(max_length=200), PATTERN] | None, OF_SOUNDSCAPES] = None
    links: Literal["inside", "anywhere"]
    shortest_s: Positive
    longest_s: Annotated[
        float, Field(gt=0, le=LONGEST_S), beside("shortest_s", ge, "must be at least shortest_s ({}); raise it")
    ]
    no_end: Literal["accept", "refuse"]
    max_refused_share: Probability
    sources: dict[Name, SourceParams] = {}


class FoldsParams(Section):
    """The split of recordings (stage `folds`)."""

    count: Annotated[int, Field(ge=2, le=20)]
    train: Annotated[
        list[int],
        Field(min_length=1),
        each_once("a fold"),
        beside(
            "count",
            lambda train, count: all(0 <= fold < count for fold in train),
            "must name folds from 0 on, below count ({}); correct the list or raise count",
        ),
    ]
    seed: Seed
    use_ready: bool
    fewest_to_validate: Annotated[int, Field(ge=2, le=LARGEST)]
    soundscapes: Literal["site", "site_and_day", "each"] = "site"


KERNEL_RULE = "must be from 0 to 0.5, or an odd number of taps (99 at most), none below 0, that add up to 1"
Smoothing = Annotated[float | list[float], kept(is_kernel, KERNEL_RULE)]
Taps = Annotated[list[float], kept(is_kernel, KERNEL_RULE)]
OTHERS = "others"
SmoothingOfClasses = Annotated[
    dict[str, Smoothing],
    kept(lambda kernels: OTHERS in kernels, f"needs {OTHERS}, which is for the classes that it does not name; add it"),
]


class FileMaxParams(Section):
    """A soundscape's level by its loudest windows, as far as it counts in each of them."""

    power: Annotated[NonNegative, Field(le=100)]
    top_k: Count


class PredictParams(Section):
    """Clips of long recordings that are scored, and the processing of their scores (docs/inference.md).

    Sources: overlapping windows, smoothing over time with [0.1, 0.8, 0.1] and scores times the maximum of their file,
    as BirdCLEF's winners do (in 2025 the mean of its highest windows, in 2026 more smoothing of insects and amphibians,
    which sing on and on); shifted clips are test-time augmentation,
    Krizhevsky et al. 2012, along time.
    """

    window_s: Seconds
    hop_s: Annotated[Seconds, beside("window_s", le, "must be at most window_s ({:g}), or time is left out; lower it")]
    shifts_s: Annotated[
        list[float],
        kept(
            lambda shifts_s: len({0.0, *shifts_s}) == len(shifts_s) + 1,
            "names a shift twice, or 0, which always counts; name each once and leave 0 out",
        ),
        beside(
            "window_s",
            lambda shifts_s, window_s: all(abs(shift_s) < window_s for shift_s in shifts_s),
            "must be shorter than window_s ({:g}), or another window is heard; shorten them",
        ),
    ]
    smoothing: Smoothing | SmoothingOfClasses
    file_max: Annotated[
        float | FileMaxParams,
        kept(lambda value: not isinstance(value, float) or 0 <= value <= 100, "must be from 0 to 100"),
    ]
    species: Annotated[
        str | None,
        kept(
            lambda path: path is None or is_inner_path(path),
            "must be the path of a file in the folder species/, without ..; put the list there, or set this to null",
        ),
    ] = None
    species_weight: Probability = 1.0
    batch_size: Count


CalibrationKind = Literal["none", "shared", "class"]
FittedOn = Literal["recordings", "windows"]
ThresholdWish = (
    Literal["f1"] | Annotated[dict[Literal["precision", "recall"], Probability], Field(min_length=1, max_length=1)]
)
NO_SOUP = "weights of folds are no longer averaged; remove the key, and their scores are"


class EnsembleParams(Section):
    """The blend of members' scores (docs/inference.md).

    Sources: weights on held-out predictions, stacking as in Wolpert 1992 and Breiman 1996 (non-negative); a mean of
    ranks, the Borda count; calibration, Platt 1999, Guo et al. 2017.
    """

    blend: (
        Literal["mean", "rank", "fitted", "best"]
        | Annotated[
            dict[Name, NonNegative],
            kept(lambda weights: sum(weights.values()) > 0, "has no weight above 0; raise one, or choose blend: mean"),
        ]
    )
    best: Count
    fold_soup: Annotated[bool, kept(lambda soup: not soup, NO_SOUP)] = False  # older files have this key
    calibration: Annotated[
        CalibrationKind,
        beside(
            "blend",
            lambda kind, blend: kind == "none" or blend != "rank",
            "needs scores, and ranks are none; set blend to another kind, or calibration: none",
        ),
    ] = "none"
    calibrate_on: Literal["auto"] | FittedOn = "recordings"
    threshold_for: ThresholdWish = "f1"
    threshold_prior: Annotated[NonNegative, Field(le=1e6)]


class EvaluateParams(Section):
    """The report of stage `evaluate`."""

    top_confusions: Count
    rare_below: Count


class ReportParams(Section):
    """The results that go into reports/report.html (docs/report.md)."""

    budget_mb: Annotated[float, Field(ge=1, le=100)]
    clips: Annotated[int, Field(ge=0, le=100)]
    gallery: Annotated[int, Field(ge=0, le=50)]
    clip_s: Annotated[float, Field(ge=1, le=60)]
    soundscapes: Annotated[int, Field(ge=0, le=50)]
    soundscape_s: Annotated[float, Field(ge=5, le=600)]
    resamples: Annotated[int, Field(ge=20, le=10000)]


EACH_ONCE_OR_ALL = each_once("one", "name each once, or none for all of the ensemble")


class ExportParams(Section):
    """Contents of the bundle, and its comparison with the pipeline (docs/deploy.md)."""

    name: Name
    members: Annotated[list[Name], EACH_ONCE_OR_ALL]
    folds: Annotated[list[CountOrNone], EACH_ONCE_OR_ALL]
    compare: Count
    tolerance: Annotated[Positive, Field(le=0.1)]
    licence: str
    data_licence: str
    precision: Literal["float32"] = "float32"  # older files have this key


class MachineParams(Section):
    """This machine, not the experiment: no stage depends on it, changing it re-runs nothing."""

    workers: Annotated[int, Field(ge=0, le=10_000)]
    device: Literal["auto", "cpu", "cuda"]
    processes: Annotated[int, Field(ge=0, le=10_000)]
    placement: Literal["auto", "device", "host", "stream"]
    stream_gb: Positive
    cuda_graph: Literal["auto", "off"] = "auto"
    pool: Annotated[str, Field(min_length=1)]
    checkpoints: Annotated[str, Field(min_length=1)]
    save_every_s: NonNegative
    keep_checkpoints: Count
    backend: Literal["loky", "dask"]
    scheduler: Annotated[
        str,
        beside(
            "backend",
            lambda scheduler, backend: not scheduler or backend == "dask",
            "is the address of a Dask cluster; set backend: dask, or leave it empty",
        ),
    ]

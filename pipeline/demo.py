"""Stage `demo`: a synthetic dawn chorus in the layout of BirdCLEF 2025, for trying everything without a download.

Writes train.csv, taxonomy.csv, sample_submission.csv, train_audio/, test_soundscapes/ and test_soundscapes_labels.csv,
which tells the truth of some of the soundscapes; the others are for a noisy student to learn from. And, as BirdCLEF
2026, train_soundscapes/ and train_soundscapes_labels.csv: windows that teach and examine.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import joblib
import pandas as pd

from birdcache.errors import PipelineError, run_stage
from birdcache.params import load as params
from birdcache.params.sections import DemoParams
from birdcache.process import exit_with_parent
from birdcache.progress import Progress
from birdcache.stage import clear, stage_key
from pipeline.synthetic.plan import DemoPlan, DemoRecording, DemoSoundscape, plan_demo
from pipeline.synthetic.scene import WINDOW_S, Scene, heard_labels, write_scene

LICENSE = "cc-by 4.0"
FIRST_TAXON_ID = 9_000_001  # above iNaturalist's numbers
SUBMISSION_ROWS = 3


def make_demo(root: Path, demo: DemoParams, workers: int) -> None:
    """Write a synthetic data set into the folder `root`; a PipelineError if `root` holds something already.

    Parameters
    ----------
    root : a folder that is empty or does not exist yet.
    demo : the same parameters give the same bytes, whatever the number of workers.
    workers : processes that make sound; 0 is one per core.
    """
    if root.exists() and any(root.iterdir()):
        raise PipelineError(f"{root}: holds files already, and stale ones would mix with new ones; remove it first")
    plan = plan_demo(demo)
    sounds = _sounds(root, plan)
    for folder in {path.parent for path, _ in sounds}:
        folder.mkdir(parents=True, exist_ok=True)
    _write_tables(root, plan)
    _write_sounds(sounds, workers)


def train_rows(recordings: Sequence[DemoRecording]) -> pd.DataFrame:
    """The rows of train.csv, in the order of BirdCLEF 2025's columns."""
    return pd.DataFrame(
        {
            "primary_label": recording.species.label,
            "secondary_labels": str(list(recording.secondary) or [""]),
            "type": str([recording.species.sound]),
            "filename": recording.filename,
            "collection": "XC",
            "rating": recording.rating,
            "url": f"https://example.org/recordings/{recording.number}",
            "latitude": recording.latitude,
            "longitude": recording.longitude,
            "scientific_name": recording.species.scientific_name,
            "common_name": recording.species.common_name,
            "author": recording.author,
            "license": LICENSE,
        }
        for recording in recordings
    )


def truth_rows(soundscapes: Sequence[DemoSoundscape]) -> pd.DataFrame:
    """Truth of each window of each soundscape: row_id, birds (labels, or `nocall`)."""
    rows = [
        (row_id, " ".join(heard_labels(soundscape.scene, end_s - WINDOW_S)) or "nocall")
        for soundscape in soundscapes
        for row_id, end_s in _windows(soundscape)
    ]
    return pd.DataFrame(rows, columns=["row_id", "birds"])


def window_rows(soundscapes: Sequence[DemoSoundscape]) -> pd.DataFrame:
    """Labelled windows as in BirdCLEF 2026: filename, start, end, primary_label; each row twice."""
    clock = "00:{:02d}:{:02d}".format
    return pd.DataFrame(
        {
            "filename": f"{soundscape.name}.ogg",
            "start": clock(*divmod(int(end_s - WINDOW_S), 60)),
            "end": clock(*divmod(int(end_s), 60)),
            "primary_label": ";".join(heard_labels(soundscape.scene, end_s - WINDOW_S)) or "nocall",
        }
        for soundscape in soundscapes
        for _, end_s in _windows(soundscape)
        for _ in range(2)
    )


def _windows(soundscape: DemoSoundscape) -> list[tuple[str, float]]:
    """The row id and the end of each window."""
    ends_s = [WINDOW_S * (number + 1) for number in range(int(soundscape.scene.duration_s / WINDOW_S))]
    return [(f"{soundscape.name}_{end_s:g}", end_s) for end_s in ends_s]


def _taxonomy_rows(plan: DemoPlan) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "primary_label": species.label,
            "inat_taxon_id": FIRST_TAXON_ID + number,
            "scientific_name": species.scientific_name,
            "common_name": species.common_name,
            "class_name": "Aves",
        }
        for number, species in enumerate(plan.species)
    ).sort_values("primary_label")


def _submission_rows(plan: DemoPlan) -> pd.DataFrame:
    labels = sorted(species.label for species in plan.species)
    row_ids = [row_id for soundscape in plan.soundscapes[:1] for row_id, _ in _windows(soundscape)[:SUBMISSION_ROWS]]
    rows = pd.DataFrame(1 / len(labels), index=pd.Index(row_ids, name="row_id"), columns=labels)
    return rows.reset_index()


def _write_tables(root: Path, plan: DemoPlan) -> None:
    tables = {
        "train.csv": train_rows(plan.recordings),
        "taxonomy.csv": _taxonomy_rows(plan),
        "sample_submission.csv": _submission_rows(plan),
        "test_soundscapes_labels.csv": truth_rows(plan.soundscapes),
    }
    if plan.labelled:
        tables["train_soundscapes_labels.csv"] = window_rows(plan.labelled)
    for name, table in tables.items():
        table.to_csv(root / name, index=False, lineterminator="\n")


def _sounds(root: Path, plan: DemoPlan) -> list[tuple[Path, Scene]]:
    """Every audio file to write, long ones first, so that no worker starts one when the others have finished."""
    soundscapes = (*plan.soundscapes, *plan.unlabelled)
    sounds = [(root / "test_soundscapes" / f"{item.name}.ogg", item.scene) for item in soundscapes]
    sounds += [(root / "train_soundscapes" / f"{item.name}.ogg", item.scene) for item in plan.labelled]
    sounds += [(root / "train_audio" / item.filename, item.scene) for item in plan.recordings]
    return sorted(sounds, key=lambda sound: -sound[1].duration_s)


def _write_sounds(sounds: Sequence[tuple[Path, Scene]], workers: int) -> None:
    # One thread of BLAS and FFT in each worker: the files are what runs in parallel.
    with (
        joblib.parallel_config("loky", n_jobs=workers or -1, inner_max_num_threads=1),
        Progress(len(sounds), "demo", "recordings") as progress,
    ):
        mortal = {"initializer": exit_with_parent, "initargs": (os.getpid(),)}
        parallel = joblib.Parallel(return_as="generator_unordered", **mortal)
        for _ in parallel(joblib.delayed(write_scene)(path, scene) for path, scene in sounds):
            progress.update()


def main() -> None:
    """Write data/demo/<name> as params.yaml's section demo.<name> says."""
    name = stage_key("dawn")
    settings = params.load()
    if name not in settings.demo:
        known = ", ".join(settings.demo) or "none"
        raise PipelineError(f"params.yaml: demo.{name} does not exist; choose one of: {known}, or add it")
    root = Path("data/demo") / name
    clear(root)
    make_demo(root, settings.demo[name], settings.machine.workers)


if __name__ == "__main__":
    run_stage(main)

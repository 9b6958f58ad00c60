"""Stage `folds`: nobody crosses folds, rare labels stay in training, the same seed gives the same folds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from ruamel.yaml import YAML

from birdcache.errors import PipelineError
from birdcache.params.sections import FoldsParams
from cache import tables
from cache.csv_files import write_csv
from pipeline import folds as stage
from pipeline.dataset.fold_summary import fold_rows, label_counts, summarise
from pipeline.dataset.groups import group_recordings, keep_in_training, rare_labels
from pipeline.folds import Split, ready_folds, split_recordings

PARAMS = Path(__file__).parents[2] / "params.yaml"
MakeRecordings = Callable[..., pd.DataFrame]


def make_recordings(labels: dict[str, int], **columns: object) -> pd.DataFrame:
    """A table like data/tables/recordings.csv; every recording is by its own author unless columns say else."""
    label = [name for name, count in labels.items() for _ in range(count)]
    number = range(len(label))
    plain = {
        "recording": [f"{name}/{n:04d}.ogg" for name, n in zip(label, number, strict=True)],
        "label": label,
        "secondary": "",
        "author": [f"author {n}" for n in number],
        "rating": np.nan,
        "latitude": np.nan,
        "longitude": np.nan,
        "date": "",
        "fold": pd.array([pd.NA] * len(label), dtype="Int64"),
        "sha256": [f"{n:064x}" for n in number],
        "sound": [f"{n:064x}" for n in number],
        "duration_s": 30.0,
        "sample_rate_hz": 32000,
        "channels": 1,
        "source": "",
    }
    return pd.DataFrame(plain | columns)


def make_params(**changes: object) -> FoldsParams:
    plain = {"count": 3, "train": [0], "seed": 1, "use_ready": True, "fewest_to_validate": 4}
    return FoldsParams.model_validate(plain | changes)


def folds_per_group(split: Split) -> pd.Series[int]:
    return pd.Series(split.fold).groupby(split.group).nunique()


def crowd(seed: int) -> pd.DataFrame:
    """A long tail of labels recorded by authors who record a few recordings each, and some nobody knows."""
    rng = np.random.default_rng((seed,))
    table = make_recordings({"robin": 60, "wren": 40, "owl": 20, "rail": 7, "crake": 3})
    author = rng.integers(0, 40, len(table))
    return table.assign(author=[f"author {one}" if one else "" for one in author])


def test_recordings_by_one_author_share_a_fold() -> None:
    recordings = crowd(1)
    fold = recordings.assign(fold=split_recordings(recordings, make_params()).fold).groupby("author")["fold"]
    assert fold.min().drop("").equals(fold.max().drop(""))


def test_unknown_authors_are_not_one_author() -> None:
    recordings = make_recordings({"robin": 6}, author="")
    assert list(group_recordings(recordings)) == list(range(6))


def test_recordings_of_one_sound_share_a_group() -> None:
    recordings = make_recordings({"robin": 4}, sound=["a", "b", "a", "c"])
    assert list(group_recordings(recordings)) == [0, 1, 0, 2]


def test_recordings_of_one_place_and_day_share_a_group() -> None:
    recordings = make_recordings(
        {"robin": 6},
        latitude=[51.5001, 51.4999, 51.5, 51.6, -0.0001, 0.0001],
        longitude=[0.1, 0.1, 0.1, 0.1, 2.0, 2.0],
        date=["2020-05-01", "2020-05-01", "2020-05-02", "2020-05-01", "2020-05-01", "2020-05-01"],
    )
    assert list(group_recordings(recordings)) == [0, 0, 1, 2, 3, 3]


@pytest.mark.parametrize("unknown", ["latitude", "longitude", "date"])
def test_place_or_day_that_is_unknown_links_nothing(unknown: str) -> None:
    known = {"latitude": 51.5, "longitude": 0.1, "date": "2020-05-01"}
    recordings = make_recordings({"robin": 3}, **(known | {unknown: "" if unknown == "date" else np.nan}))
    assert list(group_recordings(recordings)) == [0, 1, 2]


def test_links_join_through_others() -> None:
    recordings = make_recordings({"robin": 4}, author=["ann", "bob", "bob", "eve"], sound=["a", "a", "b", "c"])
    assert list(group_recordings(recordings)) == [0, 0, 0, 1]


def test_groups_equal_those_of_a_slow_search() -> None:
    rng = np.random.default_rng((7,))
    for _ in range(20):
        author, sound = rng.integers(0, 25, 40), rng.integers(0, 25, 40)
        recordings = make_recordings({"robin": 40}, author=author.astype(str), sound=sound.astype(str))
        linked = (author[:, None] == author) | (sound[:, None] == sound)
        reached = np.linalg.matrix_power(linked.astype(float), 40) > 0
        group = group_recordings(recordings)
        np.testing.assert_array_equal(group[:, None] == group, reached)


def test_each_recording_is_validated_in_one_fold_or_never() -> None:
    split = split_recordings(crowd(2), make_params())
    assert set(split.fold) == {-1, 0, 1, 2}


def test_folds_are_stratified_by_label() -> None:
    recordings = make_recordings({"robin": 30, "wren": 60, "owl": 9})
    split = split_recordings(recordings, make_params())
    counts = pd.crosstab(recordings["label"], split.fold)
    assert (counts.loc["robin"] == 10).all()
    assert (counts.loc["wren"] == 20).all()
    assert (counts.loc["owl"] == 3).all()


def test_same_seed_gives_the_same_folds_and_another_seed_others() -> None:
    one, again, other = (split_recordings(crowd(3), make_params(seed=seed)).fold for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_labels_with_too_few_recordings_stay_in_training() -> None:
    recordings = make_recordings({"robin": 30, "wren": 3, "owl": 4})
    split = split_recordings(recordings, make_params())
    never = split.fold == -1
    assert set(recordings["label"][never]) == {"wren"}
    assert never.sum() == 3
    assert split.rare == {"wren": "fewer recordings (3) than folds.fewest_to_validate (4)"}


def test_label_of_a_single_group_stays_in_training() -> None:
    author = [*map(str, range(30)), *["ann"] * 5]
    split = split_recordings(make_recordings({"robin": 30, "wren": 5}, author=author), make_params())
    assert (split.fold[30:] == -1).all()
    assert (split.fold[:30] >= 0).all()
    assert "one group" in split.rare["wren"]


def test_whole_group_of_a_rare_recording_stays_in_training() -> None:
    author = [*["ann"] * 4, *map(str, range(26)), "ann", "bob"]
    split = split_recordings(make_recordings({"robin": 30, "wren": 2}, author=author), make_params())
    assert (split.fold[:4] == -1).all()
    assert (split.fold[4:30] >= 0).all()
    assert (split.fold[30:] == -1).all()
    assert (folds_per_group(split) == 1).all()


def different(values: npt.NDArray[Any]) -> pd.Series[str]:
    """Sounds of which no two are the same."""
    return pd.Series(range(len(values))).astype(str)


def test_group_that_would_cost_too_much_validation_is_parted() -> None:
    is_rare = np.array([False] * 20 + [True] * 3)
    group = np.array([0] * 6 + [1] * 3 + [2] * 1 + list(range(3, 13)) + [0, 1, 2])
    kept = keep_in_training(is_rare, group, different(is_rare))
    assert set(group[kept & ~is_rare]) == {1, 2}  # 4 of 20 recordings; the 6 of group 0 are beyond 20 %
    assert kept[is_rare].all()


def test_sound_of_a_rare_recording_stays_in_training_wherever_its_group_goes() -> None:
    is_rare = np.array([False] * 20 + [True])
    group = np.array([*[0] * 10, *range(1, 11), 0])
    sound = different(is_rare)
    assert list(np.flatnonzero(keep_in_training(is_rare, group, sound))) == [20]
    sound[20] = sound[3]
    assert list(np.flatnonzero(keep_in_training(is_rare, group, sound))) == [3, 20]


@pytest.mark.parametrize("seed", range(10))
def test_at_least_four_fifths_of_common_recordings_are_validated(seed: int) -> None:
    rng = np.random.default_rng((seed,))
    is_rare, group = rng.random(200) < 0.1, rng.integers(0, 60, 200)
    kept = keep_in_training(is_rare, group, different(is_rare))
    assert kept[is_rare].all()
    assert (~kept).sum() >= 0.8 * (~is_rare).sum()


def test_parted_groups_are_named_in_the_report() -> None:
    author = [*["ann"] * 20, *map(str, range(40)), "ann", "bob"]
    recordings = make_recordings({"robin": 60, "wren": 2}, author=author)
    split = split_recordings(recordings, make_params())
    folds = recordings.assign(fold=split.fold, group=split.group)
    report = summarise(folds, label_counts(folds, 3), split.origin, split.rare)
    assert [(row["authors"], row["recordings_by_fold"]["-1"]) for row in report["crossing"]] == [(["ann"], 1)]
    assert "1 group crosses folds" in report["warnings"][0]


def test_ready_folds_are_used_and_renumbered_from_zero() -> None:
    recordings = make_recordings({"robin": 6}, fold=pd.array([1, 2, 5, 1, 2, 5], dtype="Int64"))
    assert list(split_recordings(recordings, make_params()).fold) == [0, 1, 2, 0, 1, 2]


def test_ready_folds_of_another_number_are_refused() -> None:
    with pytest.raises(
        PipelineError, match=r"folds.count = 3, but .* 2 distinct ready folds \(1, 2\); set folds.count to 2"
    ):
        ready_folds(pd.Series([1, 2, 1], dtype="Int64"), 3)


def test_ready_folds_are_not_used_if_not_wanted() -> None:
    recordings = make_recordings({"robin": 6}, fold=pd.array([1, 1, 1, 1, 1, 2], dtype="Int64"))
    assert set(split_recordings(recordings, make_params(use_ready=False)).fold) == {0, 1, 2}


def test_incomplete_ready_folds_are_not_used_and_the_report_says_so() -> None:
    recordings = make_recordings({"robin": 6}, fold=pd.array([1, 2, 3, 1, 2, pd.NA], dtype="Int64"))
    assert "not used: 1 of 6 recordings have none" in split_recordings(recordings, make_params()).origin


def test_group_that_crosses_ready_folds_is_reported() -> None:
    recordings = make_recordings(
        {"robin": 4}, author=["ann", "ann", "bob", "eve"], fold=pd.array([1, 2, 3, 3], dtype="Int64")
    )
    split = split_recordings(recordings, make_params())
    folds = recordings.assign(fold=split.fold, group=split.group)
    report = summarise(folds, label_counts(folds, 3), split.origin, split.rare)
    assert report["crossing"][0]["authors"] == ["ann"]
    assert report["crossing"][0]["recordings_by_fold"] == {"0": 1, "1": 1}


@pytest.mark.parametrize(
    "recordings",
    [
        make_recordings({"robin": 2, "wren": 2}),
        make_recordings({"robin": 9}, author=["ann"] * 8 + ["bob"]),
        make_recordings(dict.fromkeys("abcdefgh", 2)),
    ],
)
def test_too_few_recordings_or_groups_for_the_folds_are_refused(recordings: pd.DataFrame) -> None:
    with pytest.raises(PipelineError, match=r"params.yaml: folds.count = 3 is too many.*lower folds.count"):
        split_recordings(recordings, make_params(fewest_to_validate=2))


def test_largest_group_is_named_with_what_holds_it_together_and_only_what_helps_is_advised() -> None:
    recordings = make_recordings(
        {"robin": 6, "wren": 6}, author="Museum", date="2019-05-25", latitude=1.0, longitude=2.0
    )
    with pytest.raises(PipelineError) as raised:
        split_recordings(recordings, make_params())
    assert str(raised.value).partition("; ")[2] == (
        "the largest group is 12 of 12 recordings, such as robin/0000.ogg, held together by author Museum (12), "
        "place and day 1.0 2.0 2019-05-25 (12); empty these cells in the table of recordings if they name no single "
        "recordist or place, or add recordings by others"
    )
    with pytest.raises(PipelineError, match=r"lower folds\.fewest_to_validate \(2 labels have") as raised:
        split_recordings(make_recordings({"robin": 3, "wren": 3}), make_params(count=2))
    assert "held together" not in str(raised.value)


def test_rare_labels_are_told_by_recordings_and_by_groups() -> None:
    label = pd.Series(["a"] * 4 + ["b"] * 4 + ["c"] * 2)
    assert set(rare_labels(label, np.array([0, 0, 1, 2, 3, 3, 3, 3, 4, 5]), 3)) == {"b", "c"}


def test_rows_of_the_report_count_each_fold() -> None:
    recordings = make_recordings({"robin": 4, "wren": 2, "owl": 1}, author=["ann", "ann", "bob", "", "", "bob", "eve"])
    folds = recordings.assign(fold=[0, 0, 1, 1, 0, 0, -1], group=[0, 0, 1, 2, 3, 4, 5])
    rows = fold_rows(folds, label_counts(folds, 2)).set_index("fold")
    assert rows.loc[0].to_dict() == {
        "recordings": 4,
        "hours": round(4 * 30 / 3600, 3),
        "groups": 3,
        "authors": 2,
        "labels": 2,
        "labels_without": 0,
        "labels_untrained": 1,
    }
    assert rows.loc[1, "labels_without"] == 1
    assert list(rows["recordings"]) == [1, 4, 2]


def test_uneven_folds_are_warned_of() -> None:
    recordings = make_recordings({"robin": 20})
    folds = recordings.assign(fold=[0] * 17 + [1, 1, 2], group=range(20))
    assert "the folds are uneven, 1 to 17 recordings" in summarise(folds, label_counts(folds, 3), "", {})["warnings"][0]


@pytest.mark.parametrize(
    ("robins", "wrens", "told"),
    [
        ([0, 1, 2], [], []),
        ([0, 1, 2], [0, 1, 2], []),
        ([0, 1, 2], [0, 1], ["fold 2 validates robin alone"]),
        (
            [0, 1, 2],
            [1],
            [
                "without fold 1, robin is the only class left to learn",
                "1 class(es) lie in one fold alone, first wren in fold 1",
                "fold 0 validates robin alone",
                "fold 2 validates robin alone",
            ],
        ),
        (
            [0, 1, 2],
            [-1, -1],
            ["1 of 2 classes are never validated, first wren"]
            + [f"fold {fold} validates robin alone" for fold in range(3)],
        ),
    ],
)
def test_folds_whose_metrics_say_little_or_nothing_are_warned_of(
    robins: list[int], wrens: list[int], told: list[str]
) -> None:
    recordings = make_recordings({"robin": len(robins), "wren": len(wrens)})
    folds = recordings.assign(fold=[*robins, *wrens], group=range(len(recordings)))
    warnings = summarise(folds, label_counts(folds, 3), "", {})["warnings"]
    assert [warning.startswith(begin) for warning, begin in zip(warnings, told, strict=True)] == [True] * len(told)


def test_a_source_that_is_not_to_be_validated_stays_in_training() -> None:
    recordings = crowd(4)
    recordings["source"] = np.where(np.arange(len(recordings)) % 3 == 0, "noise", "")
    split = split_recordings(recordings, make_params(fewest_to_validate=2), ["noise"])
    plain = split_recordings(recordings, make_params(fewest_to_validate=2))
    assert (split.fold[recordings["source"] == "noise"] == -1).all()
    assert (split.fold[recordings["source"] == ""] >= 0).sum() > 0
    assert (plain.fold[recordings["source"] == "noise"] >= 0).any()


def test_recordists_of_a_source_that_is_not_validated_are_kept_out_of_validation_where_that_is_cheap() -> None:
    recordings = make_recordings({"robin": 30, "wren": 30})
    recordings.loc[0, "source"] = "xc"
    recordings.loc[[0, 1], "author"] = "ann"
    split = split_recordings(recordings, make_params(), ["xc"])
    assert split.fold[:2].tolist() == [-1, -1]
    assert (split.fold[2:] >= 0).all()


def test_ready_folds_are_those_of_sources_that_are_validated() -> None:
    recordings = make_recordings({"robin": 6}, fold=pd.array([1, 2, 3, 1, 2, pd.NA], dtype="Int64"))
    recordings.loc[5, "source"] = "noise"
    split = split_recordings(recordings, make_params(), ["noise"])
    assert split.fold.tolist() == [0, 1, 2, 0, 1, -1]
    assert split.origin == "ready folds of the metadata"


def test_stage_writes_a_fold_for_every_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = YAML(typ="safe").load(PARAMS.read_text())
    settings["folds"] = make_params().model_dump()
    with Path("params.yaml").open("w") as file:
        YAML(typ="safe").dump(settings, file)
    recordings = crowd(4)
    write_csv(recordings, Path("data/tables/recordings.csv"))
    names = ["a", "b", "c", "d", "unlabelled"]
    soundscapes = pd.DataFrame({"soundscape": names, "site": [*"SSTU", ""], "sound": names, "sha256": names})
    tables.SOUNDSCAPES.write(soundscapes.assign(path="x", duration_s=60.0))
    windows = pd.DataFrame({"soundscape": [*"aabcd"], "labels": ["robin", "", "wren", "owl robin", "robin"]})
    tables.WINDOWS.write(windows.assign(start_s=0.0, end_s=5.0))
    Path("data/tables/sources.csv").write_text("source,weight,knows,validated\n")
    stage.main()
    held = tables.SOUNDSCAPE_FOLDS.read().set_index("soundscape")
    assert list(held.index) == [*"abcd"]
    assert list(held["group"]) == [0, 0, 1, 2]
    assert held["fold"]["a"] == held["fold"]["b"]
    assert sorted(held["fold"]["b":]) == [0, 1, 2]
    summary = pd.read_csv("reports/folds/folds.csv").set_index("fold")
    assert tuple(summary.loc[-1, ["soundscapes", "sites", "windows", "window_labels"]]) == (0, 0, 0, 0)
    assert tuple(summary.loc[held["fold"]["a"], ["soundscapes", "sites", "windows", "window_labels"]]) == (2, 1, 3, 2)
    folds = pd.read_csv("data/folds.csv")
    assert list(folds.columns) == ["recording", "fold", "group"]
    assert list(folds["recording"]) == list(recordings["recording"])
    report = json.loads(Path("reports/folds/summary.json").read_text())
    assert report["soundscapes"]["summary"].startswith("4 soundscapes with 5 labelled windows, 3 sites, in 3 folds")
    assert report["recordings"]["validated"] == (folds["fold"] >= 0).sum()
    assert set(pd.read_csv("reports/folds/folds.csv")["fold"]) == {-1, 0, 1, 2}
    first = folds.to_csv()
    shutil.rmtree("reports")
    stage.main()
    assert pd.read_csv("data/folds.csv").to_csv() == first

"""Which soundscapes are scored, by which models, read from where."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from birdcache.arrays import Floats32
from birdcache.errors import TrainError
from birdcache.predict.clip_scores import read_clip_scores
from birdcache.predict.postprocess import Cutting
from tests.conftest import TinyProject
from tests.fixtures.tiny import change_params
from tests.fixtures.windows import write_windows
from train import predict
from train.data import frames, multi_view
from train.data.member import ResolvedMember
from train.model.weights import Sidecar
from train.paths import SCORES
from train.score.inference import ClipList, Scorer
from train.score.soundscapes import ScoringTask, SoundscapeAudio, read_soundscapes, score_model


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/tables").mkdir(parents=True)


def test_names_and_digests_of_soundscapes_stay_text() -> None:
    row = f"{'1' * 64},a/0042.ogg,60,0042"
    Path("data/tables/soundscapes.csv").write_text(f"sha256,path,duration_s,soundscape\n{row}\n")
    assert read_soundscapes() == [SoundscapeAudio("0042", "1" * 64, 60.0)]


def test_a_model_of_other_labels_is_refused(resolved: ResolvedMember) -> None:
    sidecar = Sidecar(labels=["1234", "wren"], fold=0, member=resolved, folds_sha256="", sha256={}, metrics={})
    task, none = ScoringTask([], ["wren", "1234"], Cutting(5.0, 5.0), 4), cast(Any, None)
    with pytest.raises(TrainError, match=r"models/tiny/0: was trained on labels that differ .* run `dvc repro`"):
        score_model(Path("models/tiny/0"), sidecar, none, task, none, none)


def in_a_copy(tiny_project: TinyProject, folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished project as the current directory."""
    root = folder / "copy"
    shutil.copytree(tiny_project.root, root, ignore=shutil.ignore_patterns("chorus", "soundscape_scores.npz"))
    patch.chdir(root)
    return root


def test_a_view_is_opened_once_for_all_members_and_folds(
    tiny_project: TinyProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = in_a_copy(tiny_project, tmp_path, monkeypatch)
    opened: list[str] = []
    open_frames = frames.open_frames

    def counted(store: Any, *others: Any) -> Any:
        opened.append(store.path.name)
        return open_frames(store, *others)

    monkeypatch.setattr(multi_view, "open_frames", counted)
    predict.main()
    assert sorted(opened) == ["mel-soundscapes.zarr", "pcen-soundscapes.zarr"], "of two members with two folds each"
    written, before = (read_clip_scores(each / "data/soundscape_scores.npz") for each in (root, tiny_project.root))
    assert written.scores == pytest.approx(before.scores, abs=1e-6), "another process may sum in another order"


def test_clips_stand_every_hop_and_are_scored_again_where_they_are_moved(
    tiny_project: TinyProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_copy(tiny_project, tmp_path, monkeypatch)
    change_params(predict={"window_s": 5.0, "hop_s": 5.0, "shifts_s": [2.5, -2.5]})
    predict.main()
    coarse = read_clip_scores(SCORES)
    assert coarse.scores.shape == (2, 3, 4, 3)
    change_params(predict={"hop_s": 2.5, "shifts_s": []})
    predict.main()
    fine = read_clip_scores(SCORES)
    assert fine.scores.shape == (2, 1, 7, 3)
    assert fine.scores[:, 0, ::2] == pytest.approx(coarse.scores[:, 0], abs=1e-5)
    assert fine.scores[:, 0, 1::2] == pytest.approx(coarse.scores[:, 1, :-1], abs=1e-5), "later by half a window"
    assert fine.scores[:, 0, 1::2] == pytest.approx(coarse.scores[:, 2, 1:], abs=1e-5), "earlier by half a window"


def test_scores_of_folds_are_averaged(
    tiny_project: TinyProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_copy(tiny_project, tmp_path, monkeypatch)
    change_params(folds={"train": [0]})
    predict.main()
    first = read_clip_scores(SCORES)
    change_params(folds={"train": [1]})
    predict.main()
    second = read_clip_scores(SCORES)
    change_params(folds={"train": [0, 1]})
    predict.main()
    both = read_clip_scores(SCORES)
    assert both.scores == pytest.approx((first.scores + second.scores) / 2, abs=1e-6)


def test_a_soundscape_that_a_fold_holds_out_is_scored_by_its_models_alone(
    tiny_project: TinyProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_a_copy(tiny_project, tmp_path, monkeypatch)
    sha256 = [each.sha256 for each in read_soundscapes()]
    change_params(folds={"train": [1]})
    predict.main()
    second = read_clip_scores(SCORES)
    change_params(folds={"train": [0, 1]})
    both = read_clip_scores(tiny_project.root / "data/soundscape_scores.npz")
    write_windows([("dawn", 0.0, 5.0, "lowton")], {"dawn": 1}, sha256)
    predict.main()
    assert read_clip_scores(SCORES).scores == pytest.approx(second.scores, abs=1e-6)
    assert "labelled windows" not in capsys.readouterr().out
    for fold in (-1, 7):
        write_windows([("dawn", 0.0, 5.0, "lowton")], {"dawn": fold}, sha256)
        predict.main()
        assert read_clip_scores(SCORES).scores == pytest.approx(both.scores, abs=1e-6)
        assert "no fold of folds.train holds out 1 soundscape with labelled windows" in capsys.readouterr().out


def test_each_soundscape_keeps_its_place_whoever_scores_it(monkeypatch: pytest.MonkeyPatch) -> None:
    write_windows([], {"b": 1, "c": 0, "d": -1, "e": 1})
    soundscapes = [
        SoundscapeAudio(name, name, 5.0 * windows) for name, windows in zip("abcde", (1, 2, 1, 2, 3), strict=True)
    ]
    shares = predict.shares_of(soundscapes, (0, 1))
    assert shares == [((0, 1), [0, 3]), ((1,), [1, 4]), ((0,), [2])]

    def scored(folder: Path, task: ScoringTask, *_: object) -> Floats32:
        clips = [ord(each.name) for each in task.soundscapes for _ in task.cutting.middles_s(each.duration_s)]
        return np.array(clips, np.float32).reshape(1, -1, 1)

    monkeypatch.setattr(predict, "score_folder", scored)
    task = ScoringTask(soundscapes, ["wren"], Cutting(5.0, 5.0), 4)
    found = predict.score_member("base", shares, task, None, None)  # type: ignore[arg-type]
    assert "".join(map(chr, found[0, :, 0].astype(int))) == "abbcddeee"


def test_a_score_that_is_no_number_is_told_with_its_soundscape_and_clip(
    tiny_project: TinyProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_copy(tiny_project, tmp_path, monkeypatch)

    def broken(self: Scorer, clips: ClipList, batch_size: int) -> Iterator[Floats32]:
        scores = np.zeros((len(clips), 3), np.float32)
        scores[-1] = np.nan
        yield from (scores[:5], scores[5:])

    monkeypatch.setattr(Scorer, "batches", broken)
    with pytest.raises(TrainError, match=r"models/base/0: gives nan .* for dawn, the clip around 17.5 s"):
        predict.main()

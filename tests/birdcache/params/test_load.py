"""params.yaml is refused with every problem at once: key, value, rule and way out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from birdcache.params import load as params
from birdcache.params.load import ParamsError
from tests.fixtures import tiny

Change = Callable[[dict[str, Any]], None]

PCEN = {"gain": 0.98, "bias": 2.0, "power": 0.5, "time_constant_s": 0.4, "eps": 4.6e8}
ONLY_PCEN = {"channels": ["pcen"], "pcen": PCEN}


def put(key: str, value: Any) -> Change:
    def change(raw: dict[str, Any]) -> None:
        *path, last = key.split(".")
        for step in path:
            raw = raw[step]
        raw[last] = value

    return change


def drop(key: str) -> Change:
    def change(raw: dict[str, Any]) -> None:
        *path, last = key.split(".")
        for step in path:
            raw = raw[step]
        del raw[last]

    return change


INSECTS = {"class_name": ["Insecta"], "others": 0.1}
BEST: dict[str, Any] = {"blend": "best", "best": 2, "threshold_prior": 10.0}


def problems(tmp_path: Path, *changes: Change) -> list[str]:
    """Lines of the error that the shipped params.yaml gives after the changes."""
    raw = tiny.shipped_params()
    for change in changes:
        change(raw)
    tiny.write_params(tmp_path / "params.yaml", raw)
    with pytest.raises(ParamsError) as caught:
        params.load(tmp_path / "params.yaml")
    first, *lines = str(caught.value).splitlines()
    assert first.startswith(str(tmp_path / "params.yaml"))
    return [line.strip() for line in lines]


def test_a_member_that_hears_only_some_classes_needs_scores_that_may_all_be_low(tmp_path: Path) -> None:
    alone = put("members.base.labels", INSECTS | {"others": 0.0})
    found, *_ = problems(tmp_path, alone, put("members.base.override.loss", {"kind": "ce"}))
    assert found.startswith("members.base: labels.others = 0, and loss.kind = ce shares a score of 1 among the classes")
    assert found.endswith("taken for Insecta; raise others, or set members.base.override.loss.kind: bce")


def test_the_shipped_file_is_valid() -> None:
    assert set(params.load(tiny.ROOT / "params.yaml").members) == {"base", "pcen"}


def test_a_key_of_before_that_changes_nothing_is_taken(tmp_path: Path) -> None:
    raw = tiny.shipped_params()
    put("ensemble.fold_soup", False)(raw)
    tiny.write_params(tmp_path / "params.yaml", raw)
    assert params.load(tmp_path / "params.yaml").ensemble == params.load(tiny.ROOT / "params.yaml").ensemble


def test_a_file_of_before_some_keys_were_there_means_what_is_shipped(tmp_path: Path) -> None:
    lines = (tiny.ROOT / "params.yaml").read_text().splitlines(keepends=True)
    later = ("batch_norm:", "validate_every:", "validation_clips:", "rolls:", "cuda_graph:")
    earlier = tmp_path / "params.yaml"
    earlier.write_text("".join(line for line in lines if not line.strip().startswith(later)))
    assert len(earlier.read_text()) < len("".join(lines))
    assert params.load(earlier) == params.load(tiny.ROOT / "params.yaml")


@pytest.mark.parametrize(
    ("change", "key", "rule"),
    [
        (put("views.mel.fmax_hz", 20000), "views.mel.fmax_hz = 20000", "Nyquist"),
        (put("views.mel.fmin_hz", 16000), "views.mel.fmax_hz = 16000", "above fmin_hz"),
        (put("views.mel.hop", 4096), "views.mel.hop = 4096", "at most the window"),
        (put("views.mel.n_fft", 2047), "views.mel.n_fft = 2047", "even"),
        (put("views.mel.kind", "mle"), "views.mel", "'mel', 'pcen'"),
        (put("views.mel.pcen", {}), "views.mel.pcen", "not a known key"),
        (put("views.Mel", {}), "views.Mel", "pattern"),
        (put("views.mel.hopp", 1), "views.mel.hopp", "did you mean hop?"),
        (drop("views.pcen.pcen.bias"), "views.pcen.pcen.bias", "missing"),
        (put("folds.train", [0, 3]), "folds.train", "from 0 on, below count (3)"),
        (put("folds.train", [0, 0]), "folds.train", "twice"),
        (put("train.demo.epochs", True), "train.demo.epochs = True", "integer"),
        (put("train.demo.epochs", 2), "train.demo.optimiser", "warmup_epochs must be below epochs"),
        (put("train.demo.optimiser.min_lr", 1.0), "train.demo.optimiser.min_lr = 1.0", "at most lr"),
        (put("train.demo.optimiser.lr", "fast"), "train.demo.optimiser.lr = 'fast'", "number"),
        (put("train.demo.sampling.weighted", 1), "train.demo.sampling.weighted = 1", "boolean"),
        (put("train.demo.optimiser.freeze_epochs", 12), "train.demo.optimiser", "freeze_epochs must be below epochs"),
        (put("train.demo.loss.kind", "focal"), "train.demo.loss.kind = 'focal'", "'focal_ce'"),
        (put("train.demo.loss.clip", 0.0), "train.demo.loss", "both 0, so nothing is learnt"),
        (put("train.demo.augment.sumix.probability", 0.6), "train.demo.augment", "add up to over 1"),
        (
            put("train.demo.augment.noise.highest_snr_db", -3.0),
            "train.demo.augment.noise.highest_snr_db = -3.0",
            "least",
        ),
        (put("train.demo.pcen", {"gain": 1.0}), "train.demo.pcen.bias", "missing"),
        (put("train.demo.loss.frame_max", 0.5), "members.base", "needs scores for every frame"),
        (put("train.demo.channels", []), "train.demo.channels", "at least 1 item"),
        (put("train.demo.channels", ["level", "level"]), "train.demo.channels", "names a channel twice"),
        (put("train.demo.channels", ["pcen"]), "train.demo.pcen", "is needed for the channel pcen"),
        (
            put("members.base.override", ONLY_PCEN),
            "members.base",
            "dynamic_range_db = 80 has no meaning for the channel",
        ),
        (put("members.pcen.override", ONLY_PCEN), "members.pcen", "would be PCEN of the PCEN values"),
        (put("train.demo.augment.eq.probability", 0.5), "members.pcen", "augment.eq.probability = 0.5 has no meaning"),
        (put("train.demo.augment.noise.probability", 0.5), "members.pcen", "augment.noise.probability = 0.5 has no"),
        (put("train.demo.augment.sumix.probability", 0.5), "members.pcen", "augment.sumix.probability = 0.5 has no"),
        (put("train.demo.augment.background.probability", 0.5), "members.pcen", "augment.background.probability = 0.5"),
        (put("members.pcen.override.trim_db", 40.0), "members.pcen", "trim_db = 40 has no meaning"),
        (put("members.base.head", "attention"), "members.base.head = 'attention'", "'linear', 'sed' or 'mlp'"),
        (put("predict.hop_s", 6.0), "predict.hop_s = 6.0", "at most window_s (5)"),
        (put("predict.hop_s", 0.0), "predict.hop_s = 0.0", "greater than or equal to 0.01"),
        (put("predict.shifts_s", [1.0, 0.0]), "predict.shifts_s", "or 0, which always counts"),
        (put("predict.shifts_s", [1.0, 1.0]), "predict.shifts_s", "names a shift twice"),
        (put("predict.shifts_s", [-5.0]), "predict.shifts_s", "shorter than window_s (5)"),
        (put("predict.smoothing", 0.6), "predict.smoothing = 0.6", "0.5"),
        (put("predict.smoothing", [0.2, 0.8]), "predict.smoothing", "an odd number of taps"),
        (put("predict.smoothing", [0.2, 0.9, 0.2]), "predict.smoothing", "that add up to 1"),
        (put("predict.smoothing", [-0.1, 1.2, -0.1]), "predict.smoothing", "none below 0"),
        (put("predict.smoothing", {"Aves": 0.1}), "predict.smoothing", "needs others"),
        (put("predict.smoothing", {"Aves": 0.9, "others": 0.1}), "predict.smoothing.Aves = 0.9", "from 0 to 0.5"),
        (put("members.pcen.labels", {"class_name": []}), "members.pcen.labels.class_name", "at least 1 item"),
        (put("members.pcen.labels", {"class_name": ["Aves"] * 2}), "members.pcen.labels.class_name", "names one twice"),
        (put("predict.file_max", -1.0), "predict.file_max = -1.0", "from 0 to 100"),
        (put("predict.file_max", {"power": 1.0, "top_k": 0}), "predict.file_max", "greater than or equal to 1"),
        (put("ensemble.blend", "median"), "ensemble.blend = 'median'", "'mean', 'rank', 'fitted' or 'best'"),
        (put("ensemble.blend", {"base": 1.0, "bass": 1.0}), "ensemble.blend.bass", "names no member"),
        (put("ensemble.blend", {"base": 0.0}), "ensemble.blend", "no weight above 0"),
        (put("ensemble.fold_soup", True), "ensemble.fold_soup = True", "remove the key, and their scores are"),
        (put("ensemble", {**BEST, "best": 3}), "ensemble.best = 3", "there are only 2 members"),
        (put("ensemble.threshold_prior", -1.0), "ensemble.threshold_prior = -1.0", "greater than or equal to 0"),
        (put("ensemble.threshold_for", "f2"), "ensemble.threshold_for", "'f1'"),
        (put("ensemble.threshold_for", {"precision": 1.1}), "ensemble.threshold_for", "less than or equal to 1"),
        (put("ensemble.threshold_for", {"precision": 0.9, "recall": 0.9}), "ensemble.threshold_for", "at most 1"),
        (put("ensemble", {**BEST, "blend": "rank", "calibration": "class"}), "ensemble.calibration", "ranks are none"),
        (put("train.demo.weights", "mean"), "train.demo.weights = 'mean'", "'soup'"),
        (put("train.demo.soup_epochs", 0), "train.demo.soup_epochs = 0", "greater than or equal to 1"),
        (put("train.demo.loss.pos_weight", 9.0), "train.demo.loss.pos_weight = 9.0", "not ce; set pos_weight: 1.0"),
        (
            lambda raw: raw["train"]["demo"].update(
                batch_size=15, loss={**raw["train"]["demo"]["loss"], "consistency": 1.0}
            ),
            "train.demo.loss",
            "make batch_size = 15 even",
        ),
        (put("members.base.image_size", [8, 64]), "members.base.image_size.0", "greater than or equal to 16"),
        (put("members.base.stem_stride", 0), "members.base.stem_stride", "greater than or equal to 1"),
        (put("members.base.frame_share", 0.5), "members.base.frame_share = 0.5", "is for head sed, not linear"),
        (put("members.pcen.dropout_samples", 99), "members.pcen.dropout_samples = 99", "less than or equal to 32"),
        (put("members.base.view", "mle"), "members.base.view = 'mle'", "names no view"),
        (put("members.base.recipe", "none"), "members.base.recipe = 'none'", "names no recipe"),
        (put("members.base.override", {"epoch": 3}), "members.base.override.epoch", "did you mean epochs?"),
        (put("members.base.override", {"clip_s": 0.01}), "members.base", "shorter than a frame"),
        (put("members.base.override", {"augment": {"time_shift_s": 9.0}}), "members.base", "longer than clip_s"),
        (put("members.pcen.override", {"dynamic_range_db": 0.0}), "members.pcen", "gain_db = 6 has no meaning"),
        (put("members.pcen.override.dynamic_range_db", 80.0), "members.pcen", "dynamic_range_db = 80 has no meaning"),
        (put("train.demo.augment.eq.fewest_bands", 5), "train.demo.augment.eq.fewest_bands = 5", "at most bands (4)"),
        (put("train.demo.augment.lowpass", {"probability": 0.5}), "members.pcen", "lowpass.probability = 0.5 has no"),
        (put("train.demo.augment.distance", {"probability": 0.5}), "members.pcen", "distance.probability = 0.5 has no"),
        (
            put("members.base.override.augment", {"lowpass": {"probability": 0.5, "lowest_hz": 16_000.0}}),
            "members.base",
            "augment.lowpass.lowest_hz = 16000 is not below fmax_hz of view mel (16000); lower it",
        ),
        (
            put("members.base.override.augment", {"shorter": {"probability": 0.5, "clip_s": 5.0}}),
            "members.base",
            "augment.shorter.clip_s = 5 is no length between a frame of view mel (0.064 s) and clip_s (5); change it",
        ),
        (put("train.demo.augment.tempo", {"most": 0.0}), "train.demo.augment.tempo.most = 0.0", "greater than 0"),
        (put("train.demo.augment.mixstyle", {"probability": 0.5}), "members.pcen", "mixstyle.probability = 0.5 has no"),
        (put("train.demo.augment.spec_augment.mel_width", 200), "members.base", "over the 128 mel bins"),
        (put("train.demo.augment.spec_augment.time_width", 400), "members.base", "over the 313 frames"),
        (put("train.demo.augment.windows_override", {"windows": 0.5}), "train.demo.augment.windows_override", "holds"),
        *(
            (put("train.demo.augment.windows_override", over), f"members.base: augment.windows_override{key}", rule)
            for over, key, rule in (
                ({"mixup": {"probability": 1.5}}, ".mixup.probability = 1.5", "less than or equal to 1"),
                ({"mixup": {"probabilty": 0.5}}, ".mixup.probabilty", "did you mean probability?"),
                ({"sumix": {"probability": 0.9}}, ": the probabilities", "add up to over 1"),
                ({"eq": {"bands": 3}}, ".eq.bands = 3, and 4 without it", "a batch has one"),
                ({"noise": {"colour": "white"}}, ".noise.colour = white", "remove it there"),
                ({"spec_augment": {"mel_width": 200}}, ".spec_augment.mel_width = 200", "over the 128 mel bins"),
                ({"time_shift_s": 9.0}, ".time_shift_s = 9.0", "longer than clip_s"),
            )
        ),
        (
            put("train.demo.augment.windows_override", {"gain_db": 3.0}),
            "members.pcen: augment.windows_override.gain_db = 3 has no meaning",
            "set members.pcen.override.augment.windows_override.gain_db: 0.0",
        ),
        (put("demo.dawn.fewest_recordings", 99), "demo.dawn.fewest_recordings = 99", "at most most_recordings"),
        (put("data.soundscapes", None), "data.soundscape_truth", "needs soundscapes"),
        (put("data.longest_s", 0.1), "data.longest_s = 0.1", "at least shortest_s"),
        (put("views.mel.compression", "gzip"), "views.mel.compression = 'gzip'", "'none', 'lz4' or 'zstd'"),
        (put("machine.placement", "disk"), "machine.placement = 'disk'", "'stream'"),
        (put("machine.stream_gb", 0), "machine.stream_gb = 0", "greater than 0"),
        (put("machine.checkpoints", ""), "machine.checkpoints = ''", "at least 1 character"),
        (put("machine.save_every_s", -1.0), "machine.save_every_s = -1.0", "greater than or equal to 0"),
        (put("machine.keep_checkpoints", 0), "machine.keep_checkpoints = 0", "greater than or equal to 1"),
        (drop("machine.save_every_s"), "machine.save_every_s", "missing"),
        (put("machine.backend", "spark"), "machine.backend = 'spark'", "'loky' or 'dask'"),
        (put("machine.scheduler", "tcp://here:8786"), "machine.scheduler = 'tcp://here:8786'", "set backend: dask"),
        (drop("machine"), "machine", "missing"),
    ],
)
def test_an_impossible_value_is_refused_by_key_and_rule(tmp_path: Path, change: Change, key: str, rule: str) -> None:
    lines = problems(tmp_path, change)
    assert any(line.startswith(key) and rule in line for line in lines), lines


def test_samples_of_no_dropout_are_refused(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, put("members.pcen.dropout", 0.0), put("members.pcen.dropout_samples", 4))
    assert line.startswith("members.pcen.dropout_samples = 4: samples are all the same at dropout 0; raise it")


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    lines = problems(
        tmp_path,
        put("views.mel.hop", 4096),
        put("views.pcen.fmax_hz", 20000),
        put("folds.count", 1),
        put("train.demo.loss.kind", "cee"),
        drop("evaluate.rare_below"),
    )
    assert len(lines) == 5


def test_rules_between_sections_are_told_once_each_section_is_valid_by_itself(tmp_path: Path) -> None:
    between = put("members.base.view", "mle"), put("export.members", ["wren"]), put("ladder.folds", [7])
    (line,) = problems(tmp_path, put("folds.seed", -1), *between)
    assert line.startswith("folds.seed = -1")
    assert len(problems(tmp_path, *between)) == 3


@pytest.mark.parametrize(
    ("text", "rule"),
    [("views: [", "YAML"), ("views: 1\nviews: 2\n", "YAML"), ("- a\n", "sections"), ("demo: \xff\n", "UTF-8")],
)
def test_what_is_not_readable_as_yaml_is_refused(tmp_path: Path, text: str, rule: str) -> None:
    (tmp_path / "params.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ParamsError, match=rule):
        params.load(tmp_path / "params.yaml")


def test_a_missing_file_tells_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="birdcache init --demo"):
        params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize("section", ["views", "train", "members", "data", "demo"])
@pytest.mark.parametrize("value", [None, [], 3, "text"])
def test_a_section_of_the_wrong_shape_is_refused_without_a_traceback(tmp_path: Path, section: str, value: Any) -> None:
    assert any(line.startswith(section) for line in problems(tmp_path, put(section, value)))


def test_a_recipe_with_a_base_changes_only_the_keys_that_it_names() -> None:
    recipes = params.load(tiny.ROOT / "params.yaml").train
    base, derived = recipes["baseline"].model_dump(), recipes["balanced"].model_dump()
    assert derived["sampling"] == {**base["sampling"], "weighted": True}
    assert derived["augment"]["mixup"] == {**base["augment"]["mixup"], "probability": 0.5}
    same = set(base) - {"sampling", "augment"}
    assert {key: derived[key] for key in same} == {key: base[key] for key in same}


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"base": "demos"}, "train.other.base = 'demos': names no recipe; choose a complete one: demo"),
        ({"base": "derived"}, "train.other.base = 'derived': has a base itself; choose a complete one: demo"),
        ({"base": None}, "train.other.base = None: names no recipe"),
        ({"base": "demo", "epoch": 3}, "train.other.epoch: is not a known key; did you mean epochs?"),
        ({"base": "demo", "optimiser": 3}, "train.other.optimiser = 3: input should be a valid dictionary"),
        (
            {"base": "demo", "optimiser": {"lr": -1.0}},
            "train.other.optimiser.lr = -1.0: input should be greater than 0",
        ),
    ],
)
def test_a_recipe_with_a_wrong_base_or_change_is_refused(tmp_path: Path, recipe: dict[str, Any], said: str) -> None:
    derived = put("train.derived", {"base": "demo"})
    lines = problems(tmp_path, derived, put("train.other", recipe))
    assert len([line for line in lines if said in line]) == 1, lines


def test_what_is_wrong_with_a_base_is_told_once(tmp_path: Path) -> None:
    derived = put("train.derived", {"base": "demo"}), put("train.other", {"base": "demo", "batch_size": -1})
    lines = problems(tmp_path, *derived, put("train.demo.epochs", 0), put("train.demo.batch_size", 0))
    assert sum("epochs = 0" in line for line in lines) == 1, lines
    wrong = [line.split(":")[0].strip() for line in lines if "batch_size" in line]
    assert wrong == ["train.demo.batch_size = 0", "train.other.batch_size = -1"]


def test_no_recipe_at_all_is_refused(tmp_path: Path) -> None:
    assert any(line.strip().startswith("train: ") for line in problems(tmp_path, put("train", {})))


def test_an_override_changes_only_the_keys_that_it_names() -> None:
    loaded = params.load(tiny.ROOT / "params.yaml")
    plain, overridden = loaded.train["regularised"], loaded.recipe_of("pcen")
    assert (overridden.augment.gain_db, overridden.dynamic_range_db) == (0.0, 0.0)
    keys = ("epochs", "dynamic_range_db", "augment", "loss", "sampling")
    changed = overridden.model_dump() | {key: plain.model_dump()[key] for key in keys}
    assert changed == plain.model_dump()
    assert overridden.loss == plain.loss.model_copy(update={"kind": "bce"})


def test_frames_cover_a_duration() -> None:
    view = params.load(tiny.ROOT / "params.yaml").spectrograms["mel"]
    assert [view.frames(seconds) for seconds in (5.0, 512 / 32000, 513 / 32000)] == [313, 1, 2]


def numbers(node: Any, steps: tuple[str, ...] = ()) -> Iterator[str]:
    """The dotted key of every number of the shipped file."""
    if isinstance(node, dict):
        for key, inner in node.items():
            yield from numbers(inner, (*steps, key))
    elif isinstance(node, int | float) and not isinstance(node, bool) and not any("." in step for step in steps):
        yield ".".join(steps)


@pytest.mark.parametrize("value", ["nan", "inf", "-1e308", "1e308", "1" + 2000 * "0"], ids=lambda text: text[:6])
def test_no_key_takes_a_number_that_no_arithmetic_survives(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    shipped = tiny.shipped_params()
    keys = [key for key in numbers(shipped) if "override" not in key]
    assert len(keys) > 100
    for key in keys:
        raw = copy.deepcopy(shipped)
        put(key, int(value) if value.isdigit() else float(value))(raw)
        monkeypatch.setattr(params, "read_yaml", lambda _, raw=raw: raw)
        with pytest.raises(ParamsError) as refused:
            params.load(Path("params.yaml"))
        assert key in str(refused.value)
        assert len(str(refused.value)) < 4000


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("members.base.epochs", "it belongs under train.<recipe>.epochs; move it there"),
        ("members.base.lr", "it belongs under train.<recipe>.optimiser.lr; move it there"),
        ("train.demo.lr", "it belongs under train.demo.optimiser.lr; move it there"),
        ("train.demo.dropout", "it belongs under members.<member>.dropout or ladder.rungs.<rung>.dropout"),
        ("members.base.override.dropout", "it belongs under members.<member>.dropout or ladder"),
        ("members.base.override.lr", "it belongs under members.base.override.optimiser.lr; move it there"),
        ("views.pcen.gain", "it belongs under views.pcen.pcen.gain or train.<recipe>.pcen.gain"),
        ("views.pcen.pcen.hop", "it belongs under views.pcen.hop; move it there"),
        ("views.mel.pcen", "it belongs to another kind of this section; remove it, or change kind"),
        ("folds.epochs", "it belongs under train.<recipe>.epochs; move it there"),
        ("epochs", "it belongs under train.<recipe>.epochs; move it there"),
        ("data.device", "it belongs under machine.device; move it there"),
        ("train.demo.augment.gain", "did you mean gain_db?"),
        ("train.demo.optimiser.epochs", "it belongs under train.demo.epochs; move it there"),
        ("members.base.drop_rate", "did you mean drop_path?"),
        ("Train", "did you mean train?"),
        ("views.mel.zzz", "remove it"),
    ],
)
def test_a_hint_names_another_key_of_the_section_or_the_place_of_the_key(tmp_path: Path, key: str, hint: str) -> None:
    lines = problems(tmp_path, put(key, 1))
    assert any(line.startswith(f"{key}: is not a known key; {hint}") for line in lines), lines

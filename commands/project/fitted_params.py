"""The demo's params.yaml with the values that suit other data."""

import io
import os
from copy import deepcopy
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from birdcache.errors import CommandError
from birdcache.text import counted
from commands.project.data_facts import BACKGROUND, DataFacts

NULL_TAG = "tag:yaml.org,2002:null"
WINDOWS = 0.1  # share of an epoch's clips on labelled windows
SMALL = 2000  # recordings; below it a small network and more epochs
DEFAULT_FOLDS = 5
FEWER_FRAMES = 1024  # hop for a small set: as good as 512 (docs/esc10.md) and twice as fast without a GPU
FINE = {"n_fft": 1024, "hop": 512, "n_mels": 96}  # 23 and 12 ms at 44.1 kHz, for an ensemble
SECOND_VIEW = "long"  # for an ensemble: finer in frequency, coarser in time
DEMO_VIEWS = (SECOND_VIEW, "pcen")  # front ends, besides mel, that only the demo's members and rungs use


def fitted_params(demo: str, facts: DataFacts, backbone: str | None, pretrained: str | None, ensemble: bool) -> str:
    """Change the text of the demo's params.yaml to suit the data; its comments stay.

    With `ensemble`, three members are written, which differ in what they see.

    A CommandError if the text lacks a key that is changed here, since somebody removed it.
    """
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 200, True
    yaml.representer.add_representer(type(None), lambda writer, _: writer.represent_scalar(NULL_TAG, "null"))
    document: Any = yaml.load(demo)
    try:
        _fill(document, facts, backbone, pretrained, ensemble)
    except KeyError as error:
        raise CommandError(
            f"params.yaml: {error.args[0]!r} has been removed from the demo's parameters, but `birdcache init` changes "
            "it to suit your data; put it back (`git checkout params.yaml` restores the file), then run this again"
        ) from error
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _fill(document: Any, facts: DataFacts, backbone: str | None, pretrained: str | None, ensemble: bool) -> None:
    document.ca.items.pop("demo", None)  # its comment would stand between the key and the {}
    document["demo"] = {}
    document["data"] |= {
        "layout": facts.layout,
        "root": Path(os.path.relpath(facts.root)).as_posix(),
        "soundscapes": facts.soundscapes,
        "soundscape_truth": facts.soundscape_truth,
        "soundscape_labels": facts.soundscape_labels,
    }
    folds = facts.ready_folds or DEFAULT_FOLDS
    document["folds"]["count"] = folds
    document["folds"]["train"][:] = list(range(folds))
    for models in (document["members"], document["ladder"]["rungs"]):
        for name in [name for name, model in models.items() if model["view"] in DEMO_VIEWS]:
            del models[name]
    weights = _weights(facts, backbone, pretrained)
    for view in DEMO_VIEWS:
        if weights or not ensemble or view != SECOND_VIEW:
            document["views"].pop(view, None)
    _fill_members(document, facts, backbone, weights, given=pretrained is not None)
    document["members"]["base"]["recipe"] = "finetuned" if weights else "regularised"
    if weights and facts.recordings < SMALL:
        document["views"]["mel"]["hop"] = FEWER_FRAMES
    if ensemble:
        _add_members(document, bool(weights), facts.usual_rate_hz if weights else 0)
    _fill_recipes(document["train"], facts, bool(weights))
    fill_soundscapes(document, facts)
    _fill_ladder(document["ladder"], facts, bool(weights))
    _fill_student(document["student"], facts)


def _fill_members(document: Any, facts: DataFacts, backbone: str | None, weights: bool | str, given: bool) -> None:
    default = "mobilenetv3_small_100" if facts.recordings < SMALL else "efficientnet_b0"
    found = Path(weights).stem if isinstance(weights, str) and not given else default
    for member in (document["members"]["base"], document["ladder"]["rungs"]["baseline"]):  # other rungs copy the first
        member |= {"backbone": backbone or found, "pretrained": weights, "override": {}}


def _add_members(document: Any, finetuned: bool, rate_hz: int) -> None:
    """Two more members: one of shorter clips, and one of a view that is finer in time (docs/esc10.md) or frequency."""
    members, views, first = document["members"], document["views"], dict(document["members"]["base"], more_views=[])
    short = {"clip_s": 2.5, "augment": {"time_shift_s": 0.0}}
    members["short"] = {**first, "override": {"seed": 2, **deepcopy(short)}}
    if finetuned:
        views["fine"] = {**views["mel"], **FINE, "sample_rate_hz": rate_hz, "fmax_hz": rate_hz // 2}
        members["fine"] = {**first, "view": "fine", "more_views": [], "override": {"seed": 3, **short}}
    else:
        members[SECOND_VIEW] = {**first, "view": SECOND_VIEW, "more_views": [], "override": {"seed": 3}}


def _fill_recipes(recipes: Any, facts: DataFacts, finetuned: bool) -> None:
    for name in ("balanced", "regularised", "strong", "winner"):
        recipes[name]["sampling"]["weighted"] = not facts.balanced
    if facts.background:
        for name in ("strong", "winner"):
            recipes[name]["augment"]["background"] = {"probability": 0.5, "label": BACKGROUND}
    recipes["finetuned"]["sampling"] = {"weighted": not facts.balanced}
    if finetuned:
        _fill_finetuning(recipes, facts)
    elif facts.recordings < SMALL:
        recipes["baseline"]["epochs"] = 40


def _fill_finetuning(recipes: Any, facts: DataFacts) -> None:
    """Fine-tune a pretrained network: lower rates, and strong augmentation so that it does not memorise recordings."""
    baseline, regularised = recipes["baseline"], recipes["regularised"]
    baseline["epochs"] = 16
    regularised["optimiser"] |= {"lr": 1.0e-3, "warmup_epochs": 1}
    regularised["augment"]["time_shift_s"] = baseline["clip_s"] / 2
    regularised["augment"]["mixup"]["probability"] = 1.0
    lr = 1.0e-3 if facts.recordings < SMALL else 5.0e-4  # an epoch of many has enough steps for a lower rate
    for name in ("strong", "winner"):
        recipes[name]["epochs"] = 20
        recipes[name]["optimiser"] |= {"lr": lr, "warmup_epochs": 1, "layer_decay": 0.8}
    recipes["winner"]["optimiser"]["ema_decay"] = 0.98 if facts.recordings < SMALL else 0.999


def fill_soundscapes(document: Any, facts: DataFacts) -> None:
    """Let windows teach if another site examines, and judge epochs if each of folds.count has a site; prints which."""
    sites, baseline = facts.window_sites, document["train"]["baseline"]
    judges = sites >= document["folds"]["count"]
    told = "examine, but do not teach, which takes two: give each site a folder, or set data.soundscape_names"
    told += "; of one site, set folds.soundscapes: site_and_day; then sampling.shares (docs/soundscapes.md)"
    if sites > 1:
        baseline["sampling"]["shares"] |= {"recordings": 1 - WINDOWS, "soundscapes": WINDOWS}
        baseline["judge"] = "both" if judges else "recordings"
        told = f"teach (one clip in {1 / WINDOWS:.0f}){' and judge epochs' * judges}"
    if facts.soundscape_labels:
        print(f"{facts.soundscape_labels}: windows at {counted(sites, 'sites')} {told}")


def _fill_student(student: Any, facts: DataFacts) -> None:
    """Train rounds as long as the members; measure their gain on soundscapes that judge, else on windows of others."""
    windows = "windows" if facts.window_sites > 1 else "out_of_fold"
    student["gain_in"] = "soundscapes" if facts.soundscape_truth else windows
    for each in student["rounds"].values():
        each["override"] = {}


def _fill_ladder(ladder: Any, facts: DataFacts, finetuned: bool) -> None:
    """Measure on one fold; ablate only what the recipes use, and nothing on large data, where each takes hours."""
    ladder["rungs"]["winner"]["override"] = {}  # the demo's cross-entropy suits recordings of one bird
    ladder["ensemble"]["ensemble"][:] = ["strong", "winner"]
    ladder["folds"][:] = [0]
    if facts.recordings >= SMALL:
        ladder.ca.items.pop("ablations", None)  # its comment would stand between the key and the {}
        ladder["ablations"] = {}
        return
    ladder["ablations"]["cross_entropy"] = ladder["ablations"].pop("bce")
    ladder["ablations"]["cross_entropy"]["without"]["override"]["loss"]["kind"] = "ce"
    for name in ["even_sampling"] * facts.balanced + ["rate_of_baseline"] * finetuned:
        ladder["ablations"].pop(name, None)


def _weights(facts: DataFacts, backbone: str | None, pretrained: str | None) -> bool | str:
    """The value of --pretrained; without it, weights in a nearby folder `weights/`."""
    if pretrained is not None:
        return {"true": True, "false": False}.get(pretrained, pretrained)
    for folder in (Path(), facts.root, facts.root / "..", facts.root / "../.."):
        for path in sorted((folder / "weights").glob(f"{backbone or '*'}.safetensors")):
            relative = Path(os.path.relpath(path)).as_posix()
            print(f"found weights: {relative}")
            return relative
    return False

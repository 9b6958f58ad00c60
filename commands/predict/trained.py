"""The trained models of a project for `birdcache predict`, and the ensemble that blends them."""

from dataclasses import dataclass
from pathlib import Path

import torch

from birdcache.errors import CommandError
from birdcache.files import file_sha256
from birdcache.params import load as parameters
from birdcache.params.embedding import EmbeddingView, StoredEmbedding
from birdcache.params.views import band_hz
from birdcache.predict.postprocess import cutting_keys
from birdcache.predict.submission import SubmissionForm
from cache import tables
from cache.tables import Col
from pipeline.builder.teacher import network_file
from train.model.classifier import Classifier
from train.model.weight_source import SIDECAR
from train.model.weights import Sidecar, read_model, read_sidecar
from train.paths import ENSEMBLE
from train.score.ensemble import Ensemble, read_ensemble
from train.submit import read_form

ModelFolders = dict[str, dict[int, Path]]  # member -> fold -> folder


@dataclass(frozen=True)
class Model:
    """A trained model."""

    sidecar: Sidecar
    network: Classifier

    @property
    def trained(self) -> dict[int, str]:
        """SHA-256 of its weights, by its fold."""
        return {self.sidecar.fold: self.sidecar.sha256[self.sidecar.member.recipe.weights]}

    @property
    def clip_frames(self) -> int:
        """Number of frames of its clips."""
        member = self.sidecar.member
        return member.view.frames(member.recipe.clip_s)


@dataclass(frozen=True)
class LoadedEnsemble:
    """Models in memory, and the ensemble that blends their scores."""

    ensemble: Ensemble
    members: dict[str, list[Model]]  # the models of each member of the ensemble, in its order
    origin: list[str]  # lines on where the ensemble comes from
    device: torch.device
    submission: SubmissionForm
    names: dict[str, str]  # common names of the labels that have one

    @property
    def band_hz(self) -> tuple[float, float]:
        """The lowest and the highest frequency that any member is shown."""
        return band_hz(models[0].sidecar.member.view for models in self.members.values())

    @property
    def models(self) -> int:
        """Number of models."""
        return sum(len(models) for models in self.members.values())


def load_ensemble(
    folder: Path, ensemble_file: Path | None, window_s: float | None, device: torch.device, overlap_s: float | None
) -> LoadedEnsemble:
    """Load the models in a folder and below it that the ensemble uses.

    Parameters
    ----------
    ensemble_file : file of the ensemble; None = data/ensemble.json of the project around the folder.
    window_s, overlap_s : length of windows, overlap of clips; None = as in the ensemble.

    Raises
    ------
    CommandError
        If there is no model or no ensemble of them, or labels differ between models or from the ensemble.
    TrainError
        If the file of the ensemble cannot be read.
    """
    found, labels = find_models(folder)
    path = ensemble_file or nearest_ensemble(folder)
    ensemble = read_restricted(path, found)
    origin = f"{path}: blend {ensemble.kind} of {', '.join(ensemble.members)}"
    if ensemble.labels != labels:
        raise CommandError(f"{folder}: knows other labels than {path}; name the ensemble.json of these models")
    changed = cutting_keys(ensemble.window_s if window_s is None else window_s, ensemble.hop_s, overlap_s)
    ensemble = ensemble.model_copy(update=changed)
    folds = {name: [found[name][fold] for fold in ensemble.folds if fold in found[name]] for name in ensemble.members}
    members = {name: load_models(folders, device) for name, folders in folds.items()}
    form_and_names = read_form_and_names(path.resolve().parent.parent, labels)
    return LoadedEnsemble(ensemble, members, [origin], device, *form_and_names)


def find_models(folder: Path) -> tuple[ModelFolders, list[str]]:
    """Find the folders of all trained models in a folder and below it, by member and fold, and their labels.

    A CommandError if there is none, if their labels differ, or if two are of one member and fold.
    """
    folders = sorted(path.parent for path in folder.rglob(SIDECAR))
    if not folders:
        raise CommandError(
            f"{folder}: holds no trained model ({SIDECAR}); train with `dvc repro` or name another folder"
        )
    found: ModelFolders = {}
    labels = read_sidecar(folders[0]).labels
    for each in folders:
        sidecar = read_sidecar(each)
        if sidecar.labels != labels:
            raise CommandError(f"{each}: knows other labels than {folders[0]}; name a folder of one data set")
        name, fold = sidecar.member.name, sidecar.fold
        folds = found.setdefault(name, {})
        if fold in folds:
            raise CommandError(f"{each}: is {name} on fold {fold}, and so is {folds[fold]}; name one")
        folds[fold] = each
    return found, labels


def nearest_ensemble(folder: Path) -> Path:
    """data/ensemble.json of the project around a folder of models; a CommandError if there is none."""
    for each in folder.resolve().parents:
        if (each / ENSEMBLE).is_file():
            return each / ENSEMBLE
    raise CommandError(
        f"{folder}: no folder above it has {ENSEMBLE}, which says how the models are blended; run `dvc repro submit` "
        "in their project, or name the file with --ensemble FILE"
    )


def read_restricted(path: Path, found: ModelFolders) -> Ensemble:
    """Read an ensemble with only the members that were found, weights scaled to add up to 1; a CommandError if none."""
    ensemble = read_ensemble(path)
    folds = set(ensemble.folds)
    members = {name: weight for name, weight in ensemble.members.items() if folds & set(found.get(name, {}))}
    if not members:
        raise CommandError(
            f"{path}: blends no model of those found ({', '.join(found)}); run `dvc repro submit`, or name the "
            "ensemble.json of these models with --ensemble FILE"
        )
    total = sum(members.values())
    weights = {name: weight / total if total else 1 / len(members) for name, weight in members.items()}
    return ensemble.model_copy(update={"members": weights})


def load_models(folders: list[Path], device: torch.device) -> list[Model]:
    """Load the models of a member's folds; errors as of `with_network`."""
    facts = {folder: with_network(read_sidecar(folder), folder) for folder in folders}
    return [Model(each, read_model(folder, each, each.member.recipe.weights, device)) for folder, each in facts.items()]


def with_network(sidecar: Sidecar, folder: Path) -> Sidecar:
    """A probe's facts with the file of the network that it listens to, which params.yaml here names; others as is.

    A CommandError if that is not the network whose embedding the probe has learnt.
    """
    view, name = sidecar.member.view, sidecar.member.member.view
    if not isinstance(view, StoredEmbedding):
        return sidecar
    named = parameters.load().views.get(name)
    file = network_file(named) if isinstance(named, EmbeddingView) else None
    if file is None or not file.is_file() or file_sha256(file) != view.file_sha256:
        what = f"learnt from a network of SHA-256 {view.file_sha256}, and views.{name}.file of params.yaml is another"
        raise CommandError(f"{folder}: {what}; run this in its project, with that file, or name other models")
    found = view.model_copy(update={"file": str(file.absolute())})
    return sidecar.model_copy(update={"member": sidecar.member.model_copy(update={"view": found})})


def read_form_and_names(project: Path, labels: list[str]) -> tuple[SubmissionForm, dict[str, str]]:
    """The form of the project's submission, else a column for each label; common names of the labels that have one."""
    form, table = (each.at(project / each.path) for each in (tables.SUBMISSION_LABELS, tables.LABELS))
    known = table.read().set_index(Col.LABEL)[Col.COMMON_NAME].to_dict() if table.path.is_file() else {}
    names = {label: known[label] for label in labels if known.get(label)}
    return read_form(form) if form.path.is_file() else SubmissionForm(labels), names

"""Choice of the ensemble's models for a bundle, each with its share in the blend."""

from pathlib import Path

import numpy as np
import torch

from birdcache.errors import CommandError
from birdcache.params.sections import ExportParams
from commands.export.graph import WeightedModel
from commands.predict import trained
from train.paths import ENSEMBLE, MODELS
from train.score.ensemble import Ensemble, read_ensemble

CPU = torch.device("cpu")


def ensemble_for_export(export: ExportParams) -> trained.LoadedEnsemble:
    """Load the models of the bundle, on a CPU and in float32; errors as of `narrowed`."""
    found, labels = trained.find_models(MODELS)
    ensemble = narrowed(read_ensemble(ENSEMBLE), export)
    chosen = {name: [found[name][fold] for fold in ensemble.folds] for name in ensemble.members}
    members = {name: trained.load_models(folders, CPU) for name, folders in chosen.items()}
    in_float32 = {name: [exact(model) for model in each] for name, each in members.items()}
    return trained.LoadedEnsemble(ensemble, in_float32, [], CPU, *trained.read_form_and_names(Path.cwd(), labels))


def narrowed(ensemble: Ensemble, export: ExportParams) -> Ensemble:
    """The ensemble of the chosen members and folds; the weights add up to 1.

    Members of weight 0 are left out, if no member of some classes leaves its weight to them.

    A CommandError if its blend needs the windows of all files at once, or no member or fold is left.
    """
    if ensemble.kind == "rank":
        raise CommandError(
            "params.yaml: ensemble.blend = 'rank' ranks the windows of all files together, but a bundle scores each "
            "file separately; choose mean, fitted or best"
        )
    wanted = export.members or list(ensemble.members)
    weights = {name: weight for name, weight in ensemble.members.items() if name in wanted}
    if ensemble.only.keys().isdisjoint(weights) or not any(weights.values()):
        weights = {name: weight for name, weight in weights.items() if weight > 0}
    folds = [fold for fold in ensemble.folds if not export.folds or fold in export.folds]
    if not weights or not folds:
        raise CommandError(
            f"params.yaml: export.members = {export.members}, export.folds = {export.folds}: selects nothing from the "
            f"ensemble ({', '.join(f'{name} {weight:g}' for name, weight in ensemble.members.items())}); choose others"
        )
    scaled = {name: weight / sum(weights.values()) for name, weight in weights.items()}
    return ensemble.model_copy(update={"members": scaled, "folds": folds})


def exact(model: trained.Model) -> trained.Model:
    """The same model with predictions in float32, whatever precision it was trained in."""
    resolved = model.sidecar.member
    member = resolved.model_copy(update={"recipe": resolved.recipe.model_copy(update={"precision": "float32"})})
    return trained.Model(model.sidecar.model_copy(update={"member": member}), model.network)


def weighted_models(loaded: trained.LoadedEnsemble) -> list[WeightedModel]:
    """All models with their shares: the member's share of each class, divided by its number of folds."""
    shares_PK = loaded.ensemble.blend.shares(np.array(list(loaded.ensemble.members.values())))
    return [
        WeightedModel(model, (share_K / len(models)).astype(np.float32), shown=number == 0)
        for share_K, models in zip(shares_PK, loaded.members.values(), strict=True)
        for number, model in enumerate(models)
    ]

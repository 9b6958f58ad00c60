"""The check of a member before anything is decoded: its network is built, and sees one silent clip."""

import warnings
from collections.abc import Mapping

import timm
import torch

from birdcache.errors import TrainError
from birdcache.params.recipe import Member, Recipe
from birdcache.params.views import View, multi_view
from train.augment.normalise import channel_count
from train.loop.optim import create_optimiser
from train.model.classifier import Classifier, build_model
from train.model.sizes import LARGE, NO_PADDING, Clips, parameter_count

CLASSES = 2  # as good as any number, before the labels are known


def check_member(key: str, member: Member, recipe: Recipe, views: Mapping[str, View]) -> list[str]:
    """Refuse a member whose network, head, clips and weights do not go together, as its training would.

    A network of up to 100 million parameters is built with values (0.2 to 4 s on one core), a larger one without (1 to
    3 s; an index out of bounds then shows only in its training). Weights in a file are read and fitted, those that timm
    would download are not.

    Parameters
    ----------
    key : what stands for the member in messages.
    recipe, views : its own, and all that it may name.

    Returns
    -------
    What is worth telling: how clips are padded, and what is taken of a file of weights.

    Raises
    ------
    TrainError
        As by `build_model`, `Classifier.check_clips` and `create_optimiser`; or if timm has no weights for
        `pretrained: true`.
    """
    if member.is_probe:
        return []
    try:
        model, clips = _checked(member, recipe, views)
    except TrainError as error:
        raise TrainError(str(error).replace("params.yaml: ", f"params.yaml: {key}: ", 1)) from error
    told = [model.pretrained] if model.pretrained else []
    if model.padding != NO_PADDING:
        own = model.image_size or clips.size
        seen = tuple(map(sum, zip(own, model.padding, strict=True)))
        told.append(f"{member.backbone} sees clips of {own[0]} x {own[1]} padded to {seen[0]} x {seen[1]}")
    return [f"{key}: {each}" for each in told]


def _checked(member: Member, recipe: Recipe, views: Mapping[str, View]) -> tuple[Classifier, Clips]:
    view = multi_view([views[each] for each in member.views])
    clips, channels = Clips(view, recipe.clip_s), channel_count(view, recipe)
    pretrained = member.pretrained if isinstance(member.pretrained, str) else False
    known = timm.is_model(member.backbone)
    if known and member.pretrained is True and not timm.is_model_pretrained(member.backbone):
        raise TrainError(
            f"params.yaml: pretrained = true: timm has no weights for {member.backbone}; set it to false, name a file "
            "of weights, or choose another backbone"
        )
    large = known and parameter_count(member.backbone) > LARGE
    with torch.device("meta" if large else "cpu"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights are not copied to a network without values
        model = build_model(member, CLASSES, view.n_mels, pretrained, channels, clips)
        if recipe.recompute:
            model.recompute()
        model.check_clips(clips)
    create_optimiser([{"params": [torch.nn.Parameter(torch.zeros(2, 2))]}], recipe.optimiser)
    return model, clips

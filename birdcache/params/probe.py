"""Rules of members that learn from another network: from a teacher beside their labels, or from its embedding alone."""

from collections.abc import Iterable, Mapping
from functools import reduce

from birdcache.params.embedding import EmbeddingView
from birdcache.params.recipe import Member, Recipe

ADDED = (
    "sumix", "cutmix", "eq", "background", "noise", "spec_augment", "mixstyle", "reverse", "lowpass", "distance",
    "tempo", "shorter",
)  # fmt: skip
OF_A_PROBE = {  # what changes a sound, or an image of one, has no meaning on an embedding; mixup, a weighted mean, has
    **dict.fromkeys(("augment.gain_db", "augment.time_shift_s", "loss.frame_max", "dynamic_range_db", "trim_db"), 0.0),
    **{f"augment.{name}.probability": 0.0 for name in ADDED},
    **{"channels": ["level"], "short": "loop", "recompute": False, "optimiser.layer_decay": 1.0},
}


def taught_problems(
    key: str, recipe: Recipe, member: Member, embeddings: Mapping[str, EmbeddingView]
) -> Iterable[tuple[object, str]]:
    """Problems of a member with its teacher, and as a probe: whether something is wrong, and how that is told."""
    is_seen, teacher, names = [name in embeddings for name in member.views], member.teacher, ", ".join(embeddings)
    if teacher:
        view, hint = embeddings.get(teacher.view), f"set views.{teacher.view}.scores to that output of its file"
        yield view is None, f"teacher.view = {teacher.view!r} names no view of kind embedding; choose one of: {names}"
        needs = view and view.scores is None and (teacher.loss == "kl" or teacher.soft)
        yield needs, f"teacher: loss: kl and soft labels need scores; {hint}"
    if not member.is_probe:
        yield any(is_seen), f"a view of kind embedding is no image for a backbone; set {key}.backbone: embedding"
        yield member.head == "mlp", f"head: mlp is for backbone: embedding; set {key}.head: linear, or sed"
        return
    yield is_seen != [True], f"backbone: embedding needs one view of kind embedding ({names}) and no more_views"
    yield member.head == "sed", f"head: sed needs frames, and an embedding has none; set {key}.head: linear, or mlp"
    yield member.pretrained, f"backbone: embedding has no weights to begin with; set {key}.pretrained: false"
    is_image = member.pool != "avg" or member.image_size or member.stem_stride
    yield is_image, f"an embedding is no image; set {key}.pool: avg, image_size: null and stem_stride: null"
    for name, wanted in OF_A_PROBE.items():
        value, shown = reduce(getattr, name.split("."), recipe), str(wanted).lower().replace("'", "")
        hint = f"set {key}.override.{name}: {shown}"
        yield value != wanted, f"{name} = {value} has no meaning on an embedding, which is no sound; {hint}"

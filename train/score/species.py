"""The list of species that params.yaml names, applied to the windows of soundscapes. W window, K class."""

from pathlib import Path

import numpy as np

from birdcache.arrays import Floats32
from birdcache.params.sections import PredictParams
from birdcache.predict.clip_scores import ClipScores
from birdcache.predict.species import read_species
from cache import tables
from cache.tables import Col

SPECIES = Path("species")  # relative to the project's root; stages depend on the folder


def with_species(predict: PredictParams, final_WK: Floats32, clips: ClipScores) -> Floats32:
    """Final scores after the list of predict.species, by the day of each soundscape; as they are without one: (W, K).

    Prints which of its species are no classes.

    A PipelineError if the list cannot be read, or names no class.
    """
    name, weight, days = predict.species, predict.species_weight, tables.SOUNDSCAPES.read(Col.SOUNDSCAPE, Col.DATE)
    if name is None:
        return final_WK
    taxonomy = tables.LABELS.read(Col.LABEL, Col.SCIENTIFIC_NAME, Col.COMMON_NAME).set_index(Col.LABEL)
    species, warnings = read_species(SPECIES / name, taxonomy, weight)
    for warning in warnings:
        print(f"warning: {warning}")
    day_of = dict(zip(days[Col.SOUNDSCAPE], days[Col.DATE], strict=True))
    parts = np.split(final_WK, np.cumsum(clips.windows)[:-1])
    soundscapes = clips.soundscapes.tolist()
    scored = [species(part, day_of.get(each) or each) for each, part in zip(soundscapes, parts, strict=True)]
    return np.concatenate([final_WK[:0], *scored])

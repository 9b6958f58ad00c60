"""How much each class counts in the loss. K class."""

from __future__ import annotations

import numpy as np

from birdcache.params.recipe import LossParams
from train.data.examples import Floats, Ints


def class_weights(counts_K: Ints, params: LossParams) -> Floats:
    """Weights of classes by how many recordings each has, such that their mean over these recordings is 1.

    `inverse` is 1 / n: all classes count alike. `effective` is (1 - beta) / (1 - beta^n), the inverse of the effective
    number of samples: as 1 / n for a few recordings, the same for all classes with far more than 1 / (1 - beta). The
    weights come on top of weighted sampling, which makes rare classes more frequent in the batches.

    Parameters
    ----------
    counts_K : training recordings of each primary label.

    Returns
    -------
    (K,) float32. A class without a recording weighs 1, like an average recording: `bce` then still learns that it is
    absent from the others.

    Source: Cui et al. 2019, Class-balanced loss based on effective number of samples.
    """
    weights_K = np.ones(len(counts_K))
    present = counts_K > 0
    if params.class_weights == "none":
        return weights_K.astype(np.float32)
    counts = counts_K[present].astype(np.float64)
    beta = params.effective_beta
    raw = 1 / counts if params.class_weights == "inverse" else (1 - beta) / (1 - beta**counts)
    weights_K[present] = raw * counts.sum() / (raw * counts).sum()
    return weights_K.astype(np.float32)

"""The server's answers, as plain values for JSON. W window, K class."""

from typing import Any

import numpy as np

from birdcache.arrays import Floats32, Floats64
from birdcache.audio.suffixes import TYPES
from birdcache.predict.outputs import Wanted
from birdcache.serve.jobs import MOST_KEPT, JobQueue, Recording
from birdcache.serve.spectrum import pitch_marks

DECIMALS = 4
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
TOO_LARGE = "the recording is larger than this server takes: cut it, or start the server with a larger --max-mb"


def about(queue: JobQueue, most_bytes: int) -> dict[str, Any]:
    """The page's facts of the model and of recordings that may be uploaded."""
    return {
        "summary": list(queue.predictor.facts.summary),
        "labels": len(queue.predictor.facts.labels),
        "most_mb": most_bytes // 2**20,
        "most_kept": MOST_KEPT,
        "extensions": list(TYPES),
        "formats": [suffix[1:] for suffix in {TYPES[suffix]: suffix for suffix in list(TYPES)[::-1]}.values()][::-1],
    }


def refused(code: str, detail: str, hint: str = "") -> dict[str, Any]:
    """A refusal, of a recording or of a request."""
    return {"state": "refused", "code": code, "detail": detail, "hint": hint}


def result(recording: Recording, wanted: Wanted) -> dict[str, Any]:
    """The progress of a recording, and its results when it is done."""
    if recording.rejected is not None:
        rejected = recording.rejected
        return refused(rejected.code, f"{recording.name} {rejected.detail}", rejected.hint)
    if recording.scored is None or recording.spectrum is None or recording.state != "done":
        return {"state": recording.state, "share": round(recording.share, 3)}
    scored, shape = recording.scored, recording.spectrum.shape
    scores_WK, above_K = rounded(scored.scores, wanted.above)
    return {
        "state": "done",
        "name": recording.name,
        "duration_s": scored.duration_s,
        "notes": recording.notes,
        "window_s": wanted.facts.window_s,
        "labels": list(wanted.facts.labels),
        "names": [wanted.facts.names.get(label, "") for label in wanted.facts.labels],
        "above": above_K.tolist(),
        "scores": scores_WK.tolist(),
        "spectrogram": {"frames": shape[0], "bins": shape[1], "pitch": pitch_marks()},
    }


def rounded(scores_WK: Floats32, above_K: Floats32) -> tuple[Floats64, Floats64]:
    """Scores and thresholds with few decimals; rounding takes no score to the other side of its threshold.

    So the page, which compares them anew, shows the detections that are saved.
    """
    unit = 10.0**DECIMALS
    limit_K = np.rint(np.asarray(above_K, np.float64) * unit)
    steps_WK = np.rint(np.asarray(scores_WK, np.float64) * unit)
    is_called = scores_WK >= above_K
    steps_WK = np.where(is_called, np.maximum(steps_WK, limit_K), np.minimum(steps_WK, limit_K - 1))
    return steps_WK / unit, limit_K / unit

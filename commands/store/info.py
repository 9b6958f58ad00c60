"""`birdcache info`: the contents of a store."""

import argparse

from birdcache.params.embedding import StoredEmbedding
from birdcache.params.views import PcenView, StoredView
from cache.store import Store

OPTIONAL = ("win_length", "mel_norm", "power", "log_offset")  # keys that a view without them leaves out


def run(arguments: argparse.Namespace) -> None:
    """Print the facts about a store; `birdcache verify` checks its bytes. A StoreError if it is no store."""
    for name, value in facts(Store(arguments.store)):
        print(f"{name:<12} {value}")


def facts(store: Store) -> list[tuple[str, str]]:
    """Names and values of the facts in the manifest."""
    view, manifest = store.view, store.manifest
    hours = manifest.frames * view.hop / view.sample_rate_hz / 3600
    size = sum(entry.bytes for part in manifest.parts for entry in part.files.values())
    where = "in a remote pool" if store.is_remote else "here"
    return [
        ("store", str(store.path)),
        ("recordings", f"{len(store):,}"),
        ("audio", f"{hours:,.2f} h"),
        ("frames", f"{manifest.frames:,} of {view.hop / view.sample_rate_hz * 1000:g} ms"),
        ("size", f"{size / 1e6:,.1f} MB in {len(manifest.parts)} parts {where}"),
        ("values", f"{view.dtype}, compression {view.compression}"),
        *view_facts(view),
        ("view digest", manifest.view_digest),
        ("digest", store.digest),
    ]


def view_facts(view: StoredView) -> list[tuple[str, str]]:
    """Names and values of the facts about a store's view."""
    if isinstance(view, StoredEmbedding):
        outputs = ", ".join(f"{each.name} ({each.stop - each.start} numbers)" for each in view.outputs)
        window = f"{view.window_s:g} s at {view.sample_rate_hz} Hz"
        return [("view", f"{view.kind}: {outputs}"), ("window", window), ("network", f"SHA-256 {view.file_sha256}")]
    bins = f"{view.n_mels} mel bins ({view.mel_scale})"
    rows = [
        ("view", f"{view.kind}, {bins} from {view.fmin_hz:g} to {view.fmax_hz:g} Hz"),
        ("window", f"n_fft {view.n_fft}, hop {view.hop}, at {view.sample_rate_hz} Hz"),
        *((key, str(value)) for key, value in view.model_dump().items() if key in OPTIONAL),
    ]
    if isinstance(view, PcenView):
        rows.append(("pcen", ", ".join(f"{key} {value:g}" for key, value in view.pcen.model_dump().items())))
    return rows

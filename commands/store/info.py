"""`birdcache info`: the contents of a store."""

import argparse
import json

from cache.store import Store

LABELS = {"outputs": {"__all__": {"labels"}}}  # of a network, which may know thousands


def run(arguments: argparse.Namespace) -> None:
    """Print the facts about a store; `birdcache verify` checks its bytes. A StoreError if it is no store."""
    store = Store(arguments.store)
    view, manifest = store.view, store.manifest
    hours = manifest.frames * view.hop / view.sample_rate_hz / 3600
    size = sum(entry.bytes for part in manifest.parts for entry in part.files.values())
    where = "in a remote pool" if store.is_remote else "here"
    facts = {
        "store": store.path,
        "recordings": f"{len(store):,}",
        "audio": f"{hours:,.2f} h",
        "frames": f"{manifest.frames:,} of {view.hop / view.sample_rate_hz * 1000:g} ms",
        "size": f"{size / 1e6:,.1f} MB {where}, parts: {len(manifest.parts)}",
        "view digest": manifest.view_digest,
        "digest": store.digest,
    }
    facts |= {key: json.dumps(value) for key, value in view.model_dump(mode="json", exclude=LABELS).items()}
    for name, value in facts.items():
        print(f"{name:<14} {value}")

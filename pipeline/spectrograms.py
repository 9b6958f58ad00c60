"""Stage `spectrograms@<view>`: recordings and soundscapes decoded once, into one store each."""

import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from birdcache.audio.formats.header import LONGEST_S
from birdcache.audio.rejected import RejectedAudio
from birdcache.errors import PipelineError, run_stage
from birdcache.files import write_report, write_text, writing
from birdcache.params import load as parameters
from birdcache.params.embedding import EmbeddingView
from birdcache.params.model import Params
from birdcache.stage import stage_key
from birdcache.storage import AnyPath, place
from birdcache.text import counted
from cache import report_tables, tables
from cache.csv_files import CsvTable
from cache.gc import address_of, write_root
from cache.locks import building, replacing
from cache.store import Store, digest_file
from cache.store_writer import commit_store
from cache.tables import Col
from pipeline.builder.build import Builder
from pipeline.builder.parallel import sweep_after
from pipeline.builder.plan import Source
from pipeline.builder.teacher import network_facts, stored_view
from pipeline.dataset.rejected import check_share, counts_text, refused_rows, write_refused

CACHE, REPORTS = Path("data/cache"), Path("reports/spectrograms")


def main() -> None:
    """Build data/cache/<view>.zarr and data/cache/<view>-soundscapes.zarr, for one view."""
    name = stage_key("mel")
    settings = parameters.load()
    builder = open_builder(name, settings)
    audio, scapes = read_sources(tables.AUDIO), read_sources(tables.SOUNDSCAPES)
    refused: list[RejectedAudio] = []
    listed = report_tables.REFUSED.at(REPORTS / name / "refused.csv")
    try:
        recordings = build_store(builder, audio, CACHE / f"{name}.zarr", f"spectrograms@{name}", refused)
        target = CACHE / f"{name}-soundscapes.zarr"
        soundscapes = build_store(builder, scapes, target, f"soundscapes@{name}", refused, silence=True)
    finally:
        with writing(listed.path):
            write_refused(refused_rows(refused), listed)
    network = {"network": network_facts(view)} if isinstance(view := settings.views[name], EmbeddingView) else {}
    write_report({"recordings": recordings, "soundscapes": soundscapes, **network}, REPORTS / name / "summary.json")
    check_share([entry.code for entry in refused], len(audio) + len(scapes), settings.data.max_refused_share, listed)


def open_builder(name: str, params: Params) -> Builder:
    """A builder for a view of params.yaml; a PipelineError if there is none, or its numbers do not go together."""
    if name not in params.views:
        known = ", ".join(params.views)
        raise PipelineError(f"params.yaml: views.{name} does not exist; choose one of: {known}, or add it")
    try:
        view = stored_view(name, params.views[name], params.machine.device)
        return Builder(view, pool_root(params.machine.pool), params.machine)
    except ValueError as error:
        raise PipelineError(f"params.yaml: views.{name}: {error}") from error


def pool_root(configured: str) -> AnyPath:
    """Path or URL of the pool of finished parts: BIRDCACHE_POOL, else machine.pool."""
    return place(os.environ.get("BIRDCACHE_POOL") or configured)


def read_sources(table: CsvTable) -> list[Source]:
    """Rows of `tables.AUDIO` or `tables.SOUNDSCAPES`, each content once.

    A PipelineError if it is not as stage `recordings` has written it.
    """
    rows = table.read(Col.SHA256, Col.PATH, Col.DURATION_S, Col.READ_AS).drop_duplicates(Col.SHA256)
    is_good = rows[Col.SHA256].str.fullmatch("[0-9a-f]{64}") & rows[Col.DURATION_S].between(0, LONGEST_S)
    if not is_good.all():
        bad = rows[Col.PATH][~is_good].iloc[0]
        raise PipelineError(f"{table.path}: {bad}: has no SHA-256 or duration; it was changed by hand, run `dvc repro`")
    facts = rows.itertuples(index=False, name=None)
    return [Source(sha256, path, duration_s, read_as=read_as) for sha256, path, duration_s, read_as in facts]


def build_store(
    builder: Builder,
    sources: Sequence[Source],
    target: Path,
    what: str,
    refused: list[RejectedAudio],
    silence: bool = False,
) -> dict[str, Any]:
    """Build and commit one store; return its summary for the report, and add the files that were left out to `refused`.

    With `silence`, silent recordings are taken and named: rows of a submission are asked for them too, but nothing is
    to be learnt from them.

    A PipelineError if there are sources and not one of them can be decoded. A StoreError if another process is building
    this store, or the disk refuses.
    """
    with writing(target), replacing(target, sweep_after), building(builder.root, builder.sweep):
        parts, bad = builder.build(sources, what, partial(write_root, builder.root, target, is_finished=False), silence)
        silent = [entry.file for entry in bad if silence and entry.code == "silent"]
        bad = [entry for entry in bad if entry.file not in silent]
        refused += bad
        if sources and not parts:
            raise PipelineError(f"{target}: none of {len(sources)} audio files can be decoded; the first: {bad[0]}")
        commit_store(target, builder.view, builder.digest, builder.quantizer, parts)
        write_root(builder.root, target, [address_of(named.part.folder) for named in parts], is_finished=True)
        store = Store(target)
        write_text(digest_file(target), f"{store.digest}\n")
    report = _summary(store, sources, bad) | {"silent": silent}
    print(
        f"{target}: {counted(len(store), 'recordings')}, {report['hours']} h, {report['megabytes']} MB; "
        f"refused: {counts_text(entry.code for entry in bad)}"
    )
    if silent:
        print(f"WARNING: {counted(len(silent), 'soundscapes', 'are')} silent, but predicted, first {silent[0]}")
    return report


def _summary(store: Store, sources: Sequence[Source], refused: Sequence[RejectedAudio]) -> dict[str, Any]:
    bad = {entry.file for entry in refused}
    seconds = sum(source.duration_s for source in sources if source.path not in bad)
    return {
        "recordings": len(store),
        "hours": round(seconds / 3600, 3),
        "frames": store.manifest.frames,
        "parts": len(store.manifest.parts),
        "megabytes": round(sum(entry.bytes for part in store.manifest.parts for entry in part.files.values()) / 1e6, 1),
        "refused": dict(sorted(Counter(entry.code for entry in refused).items())),
    }


if __name__ == "__main__":
    run_stage(main)

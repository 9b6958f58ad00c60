"""`birdcache predict`: detections in any audio files, by a bundle or by trained models. A bundle needs no torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from birdcache.audio.listing import left_out_lines
from birdcache.audio.notes import Note, notes_text
from birdcache.audio.paths import Bounds
from birdcache.audio.read import content_sha256
from birdcache.audio.rejected import RejectedAudio, costing_one_file
from birdcache.bundle.format import SUFFIX, is_bundle
from birdcache.checkout import project_module
from birdcache.errors import CommandError, TrainError, os_trouble
from birdcache.files import sha256_hex, write_rows
from birdcache.npz import read_npz, write_npz
from birdcache.predict.files import Found, check_name, list_files, named_paths, result_names
from birdcache.predict.outputs import WRITERS, Scored, Wanted, forget_tables
from birdcache.predict.predictor import Facts, FileScores, Predictor, score_all_the_same
from birdcache.predict.submission import SubmissionForm, read_form
from birdcache.progress import Progress
from birdcache.text import printable

if TYPE_CHECKING:
    from birdcache.predict.species import SpeciesList

REFUSED, KEPT = "refused.csv", "scores"
REFUSED_COLUMNS = ("file", "code", "detail", "hint")
KINDS = {"duration_s": "f0", "members": "f3"}  # of the arrays of a file of scores


def run(arguments: argparse.Namespace) -> None:
    """Score every file window by window, then write all formats; files that cannot be read are listed: an error."""
    formats, out = chosen_formats(arguments.format), arguments.out
    if out.exists() and not out.is_dir():
        raise CommandError(f"--out {out}: is a file; name a folder, in which one file for each format is written")
    files, left_out = list_files(named_paths(arguments.paths, sys.stdin.buffer))
    names = result_names(files)
    predictor = open_predictor(arguments)
    print("\n".join(map(printable, predictor.facts.summary)))
    asked = "kaggle" in formats
    form = submission_form(arguments.sample, predictor.facts, [each.path for each in files]) if asked else None
    job = Job(predictor, out, species_list(arguments, predictor.facts))
    try:
        done, refused = job.score(files, names)
        wanted = Wanted.of(predictor, arguments.threshold, form)
        wanted = replace(wanted, merge=arguments.merge, shortest_s=arguments.min_duration)
        for name in formats:
            print(WRITERS[name](out, partial(job.finals, done), wanted))
        forget_tables(out, [name for name, _ in refused])
        report_refused(out / REFUSED, [rejected for _, rejected in refused], left_out, len(files) + len(left_out))
    except OSError as error:
        raise CommandError(
            f"{error.filename or out}: cannot be written ({os_trouble(error)}), then run the same command again; the "
            f"scores of finished files are kept in {out / KEPT}"
        ) from error


def chosen_formats(text: str) -> list[str]:
    """Formats between commas, each once; a CommandError if there is no such format."""
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in WRITERS]:
        raise CommandError(
            f"--format {text}: no format {', '.join(map(repr, unknown))}; choose one of {','.join(WRITERS)}"
        )
    if "parquet" in names and not (find_spec("pandas") and find_spec("pyarrow")):
        raise CommandError('--format parquet needs pandas and pyarrow: pip install "birdcache[parquet]"')
    return list(dict.fromkeys(names))


def open_predictor(arguments: argparse.Namespace) -> Predictor:
    """The bundle, or the trained models; a CommandError if it is neither, or what it needs is not installed."""
    if is_bundle(arguments.model):
        from birdcache.bundle.read import open_bundle
        from birdcache.bundle.scores import BundlePredictor

        if arguments.ensemble:
            raise CommandError(f"--ensemble: {arguments.model} is a bundle, whose ensemble is fixed; leave it out")
        return BundlePredictor(open_bundle(arguments.model, arguments.device), arguments.window, arguments.overlap)
    check_no_bundle_near(arguments.model)
    trained = project_module("commands.predict.predictor", f"--model {arguments.model} (trained models)")
    found: Predictor = trained.TrainedPredictor(
        arguments.model, arguments.ensemble, arguments.window, arguments.device, arguments.overlap
    )
    return found


def submission_form(sample: Path | None, facts: Facts, files: Sequence[Path]) -> SubmissionForm:
    """The form of --sample, else of the models' data, which must tell the files apart; prints labels that score 0."""
    form = facts.submission
    if sample:
        asked = read_form(sample, Bounds(sample.parent, "anywhere"))
        form = SubmissionForm(asked.labels or form.labels, asked.column)
    form.check_apart(((file.stem, file) for file in files), "rename one, or leave out --format kaggle")
    if missing := form.missing(facts.labels):
        print(printable(f"warning: {missing}"))
    return form


def species_list(arguments: argparse.Namespace, facts: Facts) -> SpeciesList | None:
    """The list of --species, if there is one; prints which of its species the model does not know."""
    if not arguments.species:
        return None
    try:
        from birdcache.predict.species import read_species, taxonomy_of
    except ModuleNotFoundError as error:
        raise CommandError(
            f'--species needs {error.name}, which is not installed: pip install "birdcache[annotations]"'
        ) from error
    species, warnings = read_species(
        arguments.species, taxonomy_of(facts.labels, facts.names), arguments.species_weight
    )
    for warning in warnings:
        print(printable(f"warning: {warning}"))
    return species


def check_no_bundle_near(model: Path) -> None:
    """Refuse the folder that a bundle lies in, and a file of one, with the bundle that is probably meant."""
    meant = [model.parent] if model.is_file() and is_bundle(model.parent) else sorted(model.glob(f"*{SUFFIX}"))
    if meant:
        raise CommandError(
            f"--model {model}: is neither a bundle nor a folder of trained models; did you mean {meant[0]}?"
        )


@dataclass(frozen=True)
class Done:
    """A file whose scores are kept."""

    path: Path
    name: Path
    sha256: str


@dataclass(frozen=True)
class Results:
    """A folder with a file for each recording that was scored, named by what decides its content."""

    folder: Path
    digest: str  # of everything besides the recording that decides the scores

    def path(self, sha256: str) -> Path:
        """The path of the scores of a recording with this content."""
        return self.folder / f"{sha256_hex(f'{sha256} {self.digest}'.encode())[:32]}.npz"

    def write(self, sha256: str, scores: FileScores) -> None:
        """Keep the scores of a recording: whole, or not at all."""
        write_npz(self.path(sha256), {"duration_s": np.array(scores.duration_s), "members": scores.members})

    def read(self, sha256: str) -> FileScores | None:
        """Scores that were kept; None if there are none, or they are damaged."""
        try:
            content = read_npz(self.path(sha256), KINDS, "")
        except TrainError:
            return None
        return FileScores(float(content["duration_s"]), content["members"])


class Job:
    """Files on their way from audio to scores, kept one by one in `<out>/scores`."""

    def __init__(self, predictor: Predictor, out: Path, species: SpeciesList | None = None) -> None:
        self._predictor, self._scratch, self._species = predictor, out / KEPT, species
        self._results = Results(self._scratch, predictor.facts.digest)
        self._notes: list[tuple[str, Note]] = []

    def score(
        self, files: Sequence[Found], names: Sequence[Path]
    ) -> tuple[list[Done], list[tuple[Path, RejectedAudio]]]:
        """Score what is not scored yet; refusals come with the names of the results that there are not."""
        done: list[Done] = []
        refused: list[tuple[Path, RejectedAudio]] = []
        kept = 0
        with Progress(len(files), "predict", "files") as progress:
            for file, name in zip(files, names, strict=True):
                try:
                    with costing_one_file(str(file.path)):
                        check_name(file.path, name)
                        sha256 = content_sha256(file.path)
                        if self._results.read(sha256) is None:
                            self._score(file.path, sha256, progress)
                        else:
                            progress.update()
                            kept += 1
                        done.append(Done(file.path, name, sha256))
                except RejectedAudio as rejected:
                    refused.append((name, rejected.alone()))
        if self._notes:
            print(f"warning: {notes_text(self._notes)}")
        if kept:
            print(f"{kept} of {len(files)} files were scored by the same model before; their scores are kept")
        return done, refused

    def _score(self, path: Path, sha256: str, progress: Progress) -> None:
        shares: list[float] = []
        self._scratch.mkdir(parents=True, exist_ok=True)  # again, if somebody has removed it meanwhile

        def advance(share: float) -> None:
            shares.append(share)
            progress.update(share)

        try:
            scores, is_silent = score_all_the_same(self._predictor, path, self._scratch, advance)
            if is_silent:
                progress.say(f"warning: {path}: is silent; it is scored like any other")
            self._notes += [(str(path), note) for note in scores.notes]
            self._results.write(sha256, scores)
        finally:
            progress.update(1 - sum(shares))

    def finals(self, done: Sequence[Done]) -> Iterator[Scored]:
        """Files with their final scores, one at a time, or all at once where they are blended jointly."""
        groups = [list(done)] if self._predictor.facts.jointly else [[each] for each in done]
        for group in filter(None, groups):
            kept = [self._kept(each) for each in group]
            windows = [each.members.shape[1] for each in kept]
            final_WK = self._predictor.final(np.concatenate([each.members for each in kept], axis=1), windows)
            parts = np.split(final_WK, np.cumsum(windows)[:-1])
            for each, scores, scores_WK in zip(group, kept, parts, strict=True):
                scored = Scored(each.path, each.name, scores.duration_s, scores_WK)
                there = self._species
                yield replace(scored, scores=there(scores_WK, scored.began)) if there else scored

    def _kept(self, each: Done) -> FileScores:
        found = self._results.read(each.sha256)
        if found is None:
            raise CommandError(f"{self._results.path(each.sha256)}: is missing or damaged; run the same command again")
        return found


def report_refused(path: Path, refused: Sequence[RejectedAudio], left_out: Sequence[RejectedAudio], files: int) -> None:
    """Write refused.csv, and report the files in it, one by one, or by kinds if they were never tried: as an error."""
    both = [*refused, *left_out]
    write_rows(path, REFUSED_COLUMNS, sorted((each.file, each.code, each.detail, each.hint) for each in both))
    if both:
        print("\n".join(map(printable, [*map(str, refused), *left_out_lines(left_out)])), file=sys.stderr)
        raise CommandError(
            f"{len(both)} of {files} files could not be scored ({path}); results of the others are in {path.parent}"
        )

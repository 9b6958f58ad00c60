"""The synthetic chorus: its layout, its truth, its repeatability, and how hard it means to be."""

from __future__ import annotations

import ast
import hashlib
import io
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from numpy.typing import NDArray

from birdcache.errors import PipelineError
from birdcache.params.sections import DemoParams
from pipeline.dataset.places import read_places
from pipeline.demo import main, make_demo, train_rows, truth_rows, window_rows
from pipeline.synthetic.ogg import with_serial
from pipeline.synthetic.plan import DemoPlan, plan_demo, recordings_per_species
from pipeline.synthetic.scene import heard_labels
from pipeline.synthetic.soundfield import CLICK_SAMPLE, HABITATS, Soundfield, air_gain, coloured_noise, impulse_response
from pipeline.synthetic.species import SPECIES, Species, Voice
from pipeline.synthetic.syllables import SAMPLE_RATE_HZ, Song, Syllable, render_songs, render_syllable

TINY = DemoParams(seed=1, species=12, most_recordings=3, fewest_recordings=1, soundscapes=1, unlabelled=0)
DEFAULT = DemoParams(seed=1, species=14, most_recordings=40, fewest_recordings=3, soundscapes=8, unlabelled=12)
TRAIN_COLUMNS = (
    "primary_label,secondary_labels,type,filename,collection,rating,url,latitude,longitude,"
    "scientific_name,common_name,author,license"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "tiny"
    make_demo(root, TINY, workers=1)
    return root


@pytest.fixture(scope="module")
def plan() -> DemoPlan:
    return plan_demo(DEFAULT)


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_bytes_are_the_same_for_one_and_two_workers(made: Path, tmp_path: Path) -> None:
    make_demo(tmp_path / "again", TINY, workers=2)
    assert contents(tmp_path / "again") == contents(made)


def test_another_seed_gives_other_recordings(plan: DemoPlan) -> None:
    other = plan_demo(DEFAULT.model_copy(update={"seed": 2}))
    assert not set(train_rows(plan.recordings).filename) & set(train_rows(other.recordings).filename)


def test_train_csv_lists_every_audio_file_under_birdclefs_columns(made: Path) -> None:
    assert (made / "train.csv").read_text(encoding="utf-8").splitlines()[0] == TRAIN_COLUMNS
    train = pd.read_csv(made / "train.csv")
    audio = made / "train_audio"
    assert set(train.filename) == {path.relative_to(audio).as_posix() for path in audio.rglob("*.ogg")}
    assert (train.filename.str.split("/").str[0] == train.primary_label).all()
    assert train.rating.between(0, 5).all()


def test_lists_in_train_csv_are_python_lists(plan: DemoPlan) -> None:
    rows = train_rows(plan.recordings)
    labels = set(rows.primary_label)
    for row in rows.itertuples():
        secondary = ast.literal_eval(str(row.secondary_labels))
        assert secondary == [""] or set(secondary) <= labels - {row.primary_label}
        assert ast.literal_eval(str(row.type))[0] in {"song", "call", "drumming"}


def test_taxonomy_and_submission_name_each_species_once_in_sorted_order(made: Path) -> None:
    labels = sorted(species.label for species in SPECIES[: TINY.species])
    taxonomy = pd.read_csv(made / "taxonomy.csv")
    submission = pd.read_csv(made / "sample_submission.csv")
    assert list(taxonomy.columns) == ["primary_label", "inat_taxon_id", "scientific_name", "common_name", "class_name"]
    assert list(taxonomy.primary_label) == labels
    assert list(submission.columns) == ["row_id", *labels]
    assert submission.iloc[:, 1:].sum(axis=1).to_numpy() == pytest.approx(1)
    assert set(submission.row_id) <= set(pd.read_csv(made / "test_soundscapes_labels.csv").row_id)


def test_audio_is_mono_vorbis_at_32_khz_and_as_long_as_planned(made: Path) -> None:
    for recording in plan_demo(TINY).recordings:
        info = soundfile.info(made / "train_audio" / recording.filename)
        assert (info.format, info.subtype, info.samplerate, info.channels) == ("OGG", "VORBIS", 32_000, 1)
        assert info.frames == round(recording.scene.duration_s * SAMPLE_RATE_HZ)
        assert 5 <= info.duration <= 40
    (soundscape,) = (made / "test_soundscapes").glob("soundscape_*.ogg")
    assert soundfile.info(soundscape).duration == 60


def test_exactly_two_files_have_the_same_bytes_with_one_label_and_two_author_names(made: Path) -> None:
    names: dict[bytes, list[str]] = {}
    for name, content in contents(made / "train_audio").items():
        names.setdefault(content, []).append(name)
    (twins,) = (same for same in names.values() if len(same) > 1)
    rows = pd.read_csv(made / "train.csv").set_index("filename").loc[twins]
    assert len(twins) == 2
    assert len(set(rows.primary_label)) == 1
    assert len(set(rows.author)) == 2


def test_truth_of_a_window_is_what_sings_in_it(plan: DemoPlan) -> None:
    truth = truth_rows(plan.soundscapes).set_index("row_id").birds
    assert len(truth) == 12 * DEFAULT.soundscapes
    for soundscape in plan.soundscapes:
        for end_s in range(5, 65, 5):
            sung = {
                singer.species.label
                for singer in soundscape.scene.singers
                for song in singer.songs
                if min(song.end_s, end_s) - max(song.start_s, end_s - 5) >= 0.2
            }
            assert truth[f"{soundscape.name}_{end_s}"] == (" ".join(sorted(sung)) or "nocall")


def test_soundscapes_without_truth_change_nothing_of_the_rest(plan: DemoPlan) -> None:
    without = plan_demo(DEFAULT.model_copy(update={"unlabelled": 0}))
    assert without == replace(plan, unlabelled=())
    pd.testing.assert_frame_equal(truth_rows(plan.soundscapes), truth_rows(without.soundscapes))
    assert len({item.name for item in (*plan.soundscapes, *plan.unlabelled)}) == 20


@pytest.mark.slow
def test_soundscapes_without_truth_are_written_beside_the_others(made: Path, tmp_path: Path) -> None:
    demo = TINY.model_copy(update={"unlabelled": 1})
    make_demo(tmp_path / "more", demo, workers=1)
    more, before = contents(tmp_path / "more"), contents(made)
    (added,) = plan_demo(demo).unlabelled
    assert set(more) - set(before) == {f"test_soundscapes/{added.name}.ogg"}
    assert {name: more[name] for name in before} == before


def test_tables_of_recordings_and_soundscapes_are_those_of_earlier_versions(plan: DemoPlan) -> None:
    tables = {"train": train_rows(plan.recordings), "truth": truth_rows(plan.soundscapes)}
    csv = {name: table.to_csv(index=False, lineterminator="\n").encode() for name, table in tables.items()}
    assert {name: hashlib.sha256(content).hexdigest()[:16] for name, content in csv.items()} == {
        "train": "c6dbd2bb7e8be051",
        "truth": "79db2fbda839c290",
    }
    assert [item.name for item in plan.unlabelled][:2] == ["soundscape_93574", "soundscape_100802"]


def test_labelled_soundscapes_change_nothing_of_the_rest(plan: DemoPlan) -> None:
    labelled = plan_demo(DEFAULT.model_copy(update={"labelled": 13}))
    assert replace(labelled, labelled=()) == plan
    fewer = plan_demo(DEFAULT.model_copy(update={"labelled": 2, "unlabelled": 0}))
    assert fewer.labelled == labelled.labelled[:2]


def test_labelled_soundscapes_are_called_by_site_day_and_time_and_sites_differ() -> None:
    labelled = plan_demo(DEFAULT.model_copy(update={"labelled": 24})).labelled
    places = read_places([item.name for item in labelled], [""] * 24, None, pytest.fail)
    assert list(places["site"]) == [f"S{site:02d}" for site in range(1, 7)] * 4
    assert list(places["date"].unique()) == ["2025-05-20", "2025-05-21", "2025-05-22", "2025-05-23"]
    assert places["time"].between("04:00:00", "06:59:00").all()
    recorders = [item.scene.recordist for item in labelled]
    assert recorders[:6] * 4 == recorders
    assert len(set(recorders)) == 6
    assert len({round(recorder.soundfield.wind_db, 3) for recorder in recorders}) == 6
    heard = [{singer.species.label for singer in item.scene.singers} for item in labelled]
    at_site = [set().union(*heard[site::6]) for site in range(6)]
    assert all(3 <= len(labels) <= 8 for labels in at_site)
    assert len(set(map(frozenset, at_site))) == 6
    assert set().union(*at_site) == {species.label for species in SPECIES[: DEFAULT.species]}


def test_labelled_windows_stand_twice_in_the_form_of_birdclef_2026() -> None:
    (soundscape,) = plan_demo(TINY.model_copy(update={"labelled": 1})).labelled
    rows = window_rows([soundscape])
    assert list(rows.columns) == ["filename", "start", "end", "primary_label"]
    assert len(rows) == 24
    assert (rows.iloc[::2].to_numpy() == rows.iloc[1::2].to_numpy()).all()
    assert tuple(rows.iloc[-1, :3]) == (f"{soundscape.name}.ogg", "00:00:55", "00:01:00")
    heard = [";".join(heard_labels(soundscape.scene, start_s)) or "nocall" for start_s in range(0, 60, 5)]
    assert list(rows["primary_label"].iloc[::2]) == heard


@pytest.mark.slow
def test_labelled_soundscapes_are_written_beside_the_others(made: Path, tmp_path: Path) -> None:
    demo = TINY.model_copy(update={"labelled": 1})
    make_demo(tmp_path / "more", demo, workers=1)
    more, before = contents(tmp_path / "more"), contents(made)
    (added,) = plan_demo(demo).labelled
    assert set(more) - set(before) == {f"train_soundscapes/{added.name}.ogg", "train_soundscapes_labels.csv"}
    assert {name: more[name] for name in before} == before


def test_soundscape_windows_hold_none_to_four_species(plan: DemoPlan) -> None:
    counts = [len(heard_labels(item.scene, start_s)) for item in plan.soundscapes for start_s in range(0, 60, 5)]
    assert min(counts) == 0
    assert 3 <= max(counts) <= 4


def test_written_truth_is_the_planned_truth(made: Path) -> None:
    written = pd.read_csv(made / "test_soundscapes_labels.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(written, truth_rows(plan_demo(TINY).soundscapes))


def test_default_recordings_form_a_long_tail_of_at_least_200() -> None:
    counts = recordings_per_species(DEFAULT)
    assert (counts[0], counts[-1]) == (40, 3)
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) >= 200


def test_planned_recordings_follow_the_long_tail(plan: DemoPlan) -> None:
    counts = train_rows(plan.recordings).primary_label.value_counts()
    assert [counts[species.label] for species in plan.species] == recordings_per_species(DEFAULT)


def test_every_species_with_four_recordings_has_two_authors_or_more(plan: DemoPlan) -> None:
    by_label = train_rows(plan.recordings).groupby("primary_label").author.agg(["size", "nunique"])
    assert (by_label.loc[by_label["size"] >= 4, "nunique"] >= 2).all()


def test_recordists_record_several_species_and_few_of_them_record_much(plan: DemoPlan) -> None:
    by_author = train_rows(plan.recordings).groupby("author").primary_label.agg(["size", "nunique"])
    assert 20 <= len(by_author) <= 26
    assert by_author["nunique"].median() >= 3
    assert by_author["size"].max() >= 3 * by_author["size"].median()


def test_ratings_follow_the_signal_to_noise_ratio(plan: DemoPlan) -> None:
    rated = [recording for recording in plan.recordings if recording.rating > 0]
    ratings = [recording.rating for recording in rated]
    snr_db = [recording.scene.singers[0].snr_db for recording in rated]
    assert np.corrcoef(ratings, snr_db)[0, 1] > 0.6


def test_a_quarter_of_recordings_have_other_birds_behind_and_not_all_are_listed(plan: DemoPlan) -> None:
    behind = [{bird.species.label for bird in item.scene.singers[1:]} for item in plan.recordings]
    listed = [set(item.secondary) for item in plan.recordings]
    assert 0.15 < np.mean([bool(labels) for labels in behind]) < 0.35
    assert all(some <= every for some, every in zip(listed, behind, strict=True))
    assert 0 < sum(map(len, listed)) < sum(map(len, behind))


def third_octave_levels(species: Species) -> NDArray[np.float64]:
    """Mean power of a few birds' songs in bands of a third of an octave, of unit length."""
    songs = [species.grammar(Voice(1, 1, bird), np.random.default_rng(bird)) for bird in range(4)]
    sound = render_songs(
        [Song(6.0 * n, syllables) for n, syllables in enumerate(songs)], 2**20, np.random.default_rng(0)
    )
    power = np.abs(np.fft.rfft(sound)) ** 2
    edges = 2**20 / SAMPLE_RATE_HZ * 250 * 2 ** (np.arange(18) / 3)
    levels: NDArray[np.float64] = np.sqrt(np.add.reduceat(power, edges.astype(int)))
    levels /= np.linalg.norm(levels)
    return levels


def test_alike_species_are_each_others_nearest_in_spectrum() -> None:
    levels = np.array([third_octave_levels(species) for species in SPECIES])
    likeness = levels @ levels.T - 2 * np.eye(len(SPECIES))
    labels = [species.label for species in SPECIES]
    alike = (("martri1", "ridtri1"), ("duswhi1", "palwhi1"))  # much the same notes; rate or order tells them apart
    nearest = {label: labels[row.argmax()] for label, row in zip(labels, likeness, strict=True)}
    assert all(nearest[one] == other and nearest[other] == one for one, other in alike)
    assert all(likeness[labels.index(one), labels.index(other)] > 0.9 for one, other in alike)


@pytest.mark.parametrize("species", SPECIES, ids=lambda species: species.label)
def test_every_grammar_sings_for_a_while_within_the_band(species: Species) -> None:
    for seed in range(10):
        syllables = species.grammar(Voice(1.1, 1.0, seed), np.random.default_rng(seed))
        assert 0.2 < max(note.end_s for note in syllables) < 12
        assert all(200 < hz < SAMPLE_RATE_HZ / 2 for note in syllables for hz in note.contour_hz)


def test_a_steady_note_sounds_at_its_pitch() -> None:
    sound = render_syllable(Syllable(0, 1.0, (3_000.0,)), np.random.default_rng(0))
    assert np.abs(np.fft.rfft(sound)).argmax() == 3_000


def test_layers_of_noise_add_up_in_power() -> None:
    noise = coloured_noise({"wind": 0.0, "leaves": -3.0}, 2**19, np.random.default_rng(0))
    assert np.mean(noise**2) == pytest.approx(1 + 10**-0.3, rel=0.05)


@pytest.mark.parametrize("place", HABITATS, ids=lambda place: place.name)
def test_an_echo_comes_after_the_click_and_fades(place: Soundfield) -> None:
    response = impulse_response(place, 40, np.random.default_rng(0))
    tenth = len(response) // 10
    assert np.abs(response).argmax() == CLICK_SAMPLE
    assert np.sum(response[-tenth:] ** 2) < 1e-4 * np.sum(response[:tenth] ** 2)


def test_distance_takes_the_highs_first() -> None:
    near, far = (air_gain(np.array([1_000, 8_000], np.float32), distance_m) for distance_m in (10, 100))
    assert (far < near).all()
    assert 20 * np.log10(far) == pytest.approx([-1, -15.6], abs=0.1)


def written_by_libsndfile() -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE_HZ)
    soundfile.write(buffer, noise, SAMPLE_RATE_HZ, format="OGG", subtype="VORBIS")
    return buffer.getvalue()


def test_ogg_checksums_agree_with_libsndfile() -> None:
    ogg = written_by_libsndfile()
    (serial,) = struct.unpack_from("<I", ogg, 14)
    assert with_serial(ogg, serial) == ogg


def test_another_serial_number_leaves_the_sound_alone() -> None:
    ogg = written_by_libsndfile()
    before, after = (soundfile.read(io.BytesIO(stream))[0] for stream in (ogg, with_serial(ogg, 7)))
    np.testing.assert_array_equal(before, after)


def test_a_folder_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").touch()
    with pytest.raises(PipelineError, match="remove it first"):
        make_demo(tmp_path, TINY, workers=1)


def test_an_unknown_name_is_refused_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    monkeypatch.setattr("sys.argv", ["demo", "dusk"])
    with pytest.raises(PipelineError, match=r"demo\.dusk .* dawn"):
        main()

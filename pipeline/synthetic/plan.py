"""The plan of a synthetic chorus: who records which species where, drawn before any sound is made."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import cycle

import numpy as np

from birdcache.params.sections import DemoParams
from pipeline.synthetic.scene import WINDOW_S, Scene, Singer, sing
from pipeline.synthetic.soundfield import HABITATS, Recordist, draw_ambience
from pipeline.synthetic.species import SPECIES, Species, draw_voice

NAMES = (
    *("Maren Holt", "Tobias Venn", "Ilse Karrow", "Jonas Lindqvar", "Petra Sommerau", "Aurel Dimkov", "Greta Ostrand"),
    *("Silvio Marenti", "Hanne Roskild", "Emeric Valtor", "Noor Haddani", "Kasimir Welk", "Lotte Brennick"),
    *("Ondrej Slavik", "Fenna Dijkmar", "Ruben Achterberg", "Yara Montellan", "Willem Torsk", "Ada Quillfeather"),
    *("Matteo Brunelsi", "Sigrun Hald", "Cosima Aldergate", "Piet Wandelaar", "Nils Egremont", "Zita Harkan"),
)
SOUNDSCAPE_S = 60.0
TAIL_SHAPE = 1.15  # above 1: fuller in the middle than a geometric series
AUTHORS_AT_LEAST = 3  # for each species that has as many recordings
BIRDS_PER_AUTHOR = 3  # of one species; recordists return to the same birds
RECORDISTS, AUTHORS, RECORDING, SOUNDSCAPE, VOICE, SOUND, SITE, LABELLED = range(1, 9)  # kinds of generators
SITES = 6  # of labelled soundscapes
BIRDS_AT_A_SITE = 8
FIRST_DAY = date(2025, 5, 20)


@dataclass(frozen=True)
class DemoRecording:
    """A row of train.csv and its sound."""

    number: int
    species: Species
    author: str
    secondary: tuple[str, ...]  # labels of the background's birds that the author listed
    rating: float  # 0 is unrated
    latitude: float
    longitude: float
    scene: Scene

    @property
    def filename(self) -> str:
        """Path inside train_audio."""
        return f"{self.species.label}/XC{self.number}.ogg"


@dataclass(frozen=True)
class DemoSoundscape:
    """A long recording without a focus."""

    name: str  # of its file, without extension: the beginning of its row ids
    scene: Scene


@dataclass(frozen=True)
class DemoPlan:
    """All of a data set, without a sound yet."""

    species: tuple[Species, ...]
    recordings: tuple[DemoRecording, ...]  # sorted by filename
    soundscapes: tuple[DemoSoundscape, ...]  # with a truth table
    unlabelled: tuple[DemoSoundscape, ...]  # without one
    labelled: tuple[DemoSoundscape, ...]  # with windows that teach and examine


def plan_demo(demo: DemoParams) -> DemoPlan:
    """Draw a data set; the same parameters give the same plan."""
    recordings = _draw_recordings(demo, draw_recordists(demo.seed))
    first, last = recordings[0].author.split()  # the same upload once more under a shortened name, as in real data
    recordings[1] = replace(recordings[0], number=recordings[1].number, author=f"{first[0]}. {last}")
    soundscapes = tuple(_draw_soundscape(demo, index) for index in range(demo.soundscapes + demo.unlabelled))
    return DemoPlan(
        SPECIES[: demo.species],
        tuple(sorted(recordings, key=lambda recording: recording.filename)),
        soundscapes[: demo.soundscapes],
        soundscapes[demo.soundscapes :],
        tuple(_draw_labelled(demo, index) for index in range(demo.labelled)),
    )


def recordings_per_species(demo: DemoParams) -> list[int]:
    """Number of recordings of each species, the commonest first: a long tail, nearly geometric."""
    rank = np.arange(demo.species) / (demo.species - 1)
    ratio = demo.fewest_recordings / demo.most_recordings
    return [round(count) for count in (demo.most_recordings * ratio ** (rank**TAIL_SHAPE)).tolist()]


def draw_recordists(seed: int) -> list[Recordist]:
    """People who record: a few record much, most of them little; each at home in one habitat."""
    rng = np.random.default_rng((seed, RECORDISTS))
    activity = rng.permutation(np.arange(1, len(NAMES) + 1) ** -0.75)
    return [
        Recordist(
            name=name,
            soundfield=place,
            latitude=place.latitude + rng.normal(0, 0.08),
            longitude=place.longitude + rng.normal(0, 0.12),
            activity=share,
            distance_m=rng.lognormal(3.0, 0.5),
            low_cut_hz=rng.uniform(60, 260),
            high_cut_hz=float(rng.choice((10_500.0, 12_500.0, 15_000.0, 15_500.0))),
            hiss_db=rng.uniform(-34, -16),
            peak_db=rng.uniform(-14, -1),
        )
        for name, share, place in zip(NAMES, activity.tolist(), cycle(HABITATS), strict=False)
    ]


def _draw_recordings(demo: DemoParams, recordists: list[Recordist]) -> list[DemoRecording]:
    """Every recording, those of the commonest species first."""
    rng = np.random.default_rng((demo.seed, AUTHORS))
    counts = recordings_per_species(demo)
    numbers = (100_000 + rng.choice(800_000, sum(counts), replace=False)).tolist()
    birds_and_authors = [
        (bird, who)
        for bird, count in zip(SPECIES[: demo.species], counts, strict=True)
        for who in _authors(bird, count, recordists, rng)
    ]
    return [
        _draw_recording(demo, index, number, bird, who)
        for index, (number, (bird, who)) in enumerate(zip(numbers, birds_and_authors, strict=True))
    ]


def _authors(bird: Species, count: int, recordists: list[Recordist], rng: np.random.Generator) -> list[Recordist]:
    """The recordist of each of a species' recordings: the busy and those at its home above all."""
    weight = np.array([person.activity * (3 if person.soundfield.name in bird.homes else 1) for person in recordists])
    weight /= weight.sum()
    first = rng.choice(len(recordists), min(count, AUTHORS_AT_LEAST), replace=False, p=weight)
    others = rng.choice(len(recordists), count - len(first), p=weight)
    return [recordists[index] for index in (*first, *others)]


def _draw_recording(demo: DemoParams, index: int, number: int, bird: Species, who: Recordist) -> DemoRecording:
    rng = np.random.default_rng((demo.seed, RECORDING, index))
    duration_s = round(float(np.clip(4 + rng.gamma(1.7, 6), 5, 40)), 2)
    hard = rng.random() < 0.13
    snr_db = rng.uniform(-3, 5) if hard else float(np.clip(rng.normal(21, 5), 9, 34))
    distance_m = float(np.clip(who.distance_m * rng.lognormal(0, 0.35) * (2 if hard else 1), 5, 150))
    start_s, end_s = _singing_time(duration_s, rng)
    which = int(rng.integers(BIRDS_PER_AUTHOR))
    voice = draw_voice(np.random.default_rng((demo.seed, VOICE, SPECIES.index(bird), *who.name.encode(), which)))
    focus = Singer(bird, sing(bird, voice, start_s, end_s, rng), snr_db, distance_m)
    others, listed = _draw_background(demo, focus, duration_s, rng)
    return DemoRecording(
        number=number,
        species=bird,
        author=who.name,
        secondary=tuple(listed),
        rating=_rating(snr_db, rng),
        latitude=round(who.latitude + rng.normal(0, 0.01), 4),
        longitude=round(who.longitude + rng.normal(0, 0.01), 4),
        scene=Scene((demo.seed, SOUND, RECORDING, index), duration_s, who, draw_ambience(who, rng), (focus, *others)),
    )


def _singing_time(duration_s: float, rng: np.random.Generator) -> tuple[float, float]:
    """From the beginning on; in some longer recordings only in a small part."""
    if duration_s > 9 and rng.random() < 0.2:
        start_s = rng.uniform(0.5, duration_s - 5)
        return start_s, start_s + rng.uniform(1, 4)
    return rng.uniform(0.1, 1.2), duration_s


def _draw_background(
    demo: DemoParams, focus: Singer, duration_s: float, rng: np.random.Generator
) -> tuple[list[Singer], list[str]]:
    """In a quarter of recordings one or two other species, quieter; most of them listed."""
    if rng.random() >= 0.25:
        return [], []
    others = [bird for bird in SPECIES[: demo.species] if bird is not focus.species]
    singers, listed = [], []
    for choice in rng.choice(len(others), int(rng.integers(1, 3)), replace=False):
        bird = others[choice]
        start_s = rng.uniform(0, duration_s - 4)
        songs = sing(bird, draw_voice(rng), start_s, duration_s, rng)
        singers.append(Singer(bird, songs, focus.snr_db - rng.uniform(5, 14), rng.uniform(30, 90)))
        if rng.random() < 0.8:
            listed.append(bird.label)
    return singers, sorted(listed)


def _rating(snr_db: float, rng: np.random.Generator) -> float:
    """Half stars that follow the quality; one in twelve is unrated."""
    if rng.random() < 1 / 12:
        return 0.0
    return float(np.clip(round(2 * (1.6 + snr_db / 10 + rng.normal(0, 0.5))) / 2, 0.5, 5))


def _draw_soundscape(demo: DemoParams, index: int) -> DemoSoundscape:
    """A recorder on a pole: one to four birds at a time, each for some windows, farther away than in recordings."""
    rng = np.random.default_rng((demo.seed, SOUNDSCAPE, index))
    place = HABITATS[index % len(HABITATS)]
    recorder = Recordist("recorder", place, place.latitude, place.longitude, 0, 40, 120, 14_500, -17, -9)
    scene = _draw_scene((demo.seed, SOUND, SOUNDSCAPE, index), recorder, SPECIES[: demo.species], rng)
    return DemoSoundscape(f"soundscape_{10_000 * (index + 1) + int(rng.integers(10_000))}", scene)


def _draw_labelled(demo: DemoParams, index: int) -> DemoSoundscape:
    """As other soundscapes, on a morning at one of a few sites, each of which has its own birds, noise and recorder."""
    at_site, rng = (np.random.default_rng((demo.seed, *key)) for key in ((SITE, index % SITES), (LABELLED, index)))
    place = HABITATS[at_site.integers(len(HABITATS))]
    layers = ("wind_db", "leaves_db", "stream_db", "traffic_db")
    levels_db = {layer: getattr(place, layer) + at_site.normal(0, 5) for layer in layers}
    place = replace(place, **levels_db, reverb_s=place.reverb_s * at_site.lognormal(0, 0.3))
    cuts_hz, hiss_db = (at_site.uniform(60, 260), at_site.uniform(12_000, 15_500)), at_site.uniform(-26, -14)
    recorder = Recordist("recorder", place, place.latitude, place.longitude, 0, 40, *cuts_hz, hiss_db, -9)
    birds = [SPECIES[bird] for bird in at_site.choice(demo.species, BIRDS_AT_A_SITE, replace=False)]
    scene = _draw_scene((demo.seed, SOUND, LABELLED, index), recorder, birds, rng)
    day = FIRST_DAY + timedelta(days=index // SITES)
    clock = f"{rng.integers(4, 7):02d}{rng.integers(60):02d}00"
    return DemoSoundscape(f"BC2026_Train_{index + 1:04d}_S{index % SITES + 1:02d}_{day:%Y%m%d}_{clock}", scene)


def _draw_scene(key: tuple[int, ...], recorder: Recordist, birds: Sequence[Species], rng: np.random.Generator) -> Scene:
    singers = [singer for _ in range(1 + rng.integers(4)) for singer in _draw_lane(birds, rng)]
    return Scene(key, SOUNDSCAPE_S, recorder, draw_ambience(recorder, rng), tuple(singers))


def _draw_lane(birds: Sequence[Species], rng: np.random.Generator) -> list[Singer]:
    """Birds one after another, never two in a window, so that as many sing in a window as there are lanes."""
    singers = []
    window = int(rng.integers(0, 5))
    while (start_s := window * WINDOW_S) < SOUNDSCAPE_S:
        windows = int(rng.integers(2, 6))
        end_s = min(start_s + windows * WINDOW_S, SOUNDSCAPE_S)
        bird = birds[int(rng.integers(len(birds)))]
        songs = sing(bird, draw_voice(rng), start_s + rng.uniform(0, 3), end_s, rng)
        if whole := tuple(song for song in songs if song.end_s <= end_s):
            singers.append(Singer(bird, whole, rng.uniform(0, 14), rng.uniform(20, 80)))
        window += windows + int(rng.integers(0, 4))
    return singers

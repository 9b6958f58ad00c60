"""The species of the synthetic dawn chorus, all invented, and the grammars of their songs.

A grammar draws one song of one bird. The `Voice` holds what that bird keeps from song to song (pitch, tempo, its
repertoire); the generator gives what changes with each song. Times in seconds from the start of the song.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import numpy as np

from pipeline.synthetic.syllables import BELL, FLUTE, WHISTLE, Syllable, at

Syllables: TypeAlias = tuple[Syllable, ...]

VOWEL = ((1, -9), (2, -4), (3, 0), (4, -1), (5, -5), (6, -10), (7, -9), (8, -13), (9, -19), (10, -24), (12, -31))
HOOT = ((1, 0), (2, -21), (3, -36))
STRIKE = ((1, 0), (1.53, -3), (2.4, -8), (3.7, -14))


@dataclass(frozen=True)
class Voice:
    """Traits that one bird keeps from song to song."""

    pitch: float  # factor on all frequencies
    tempo: float  # factor on all speeds
    repertoire: int  # seed of the phrases it knows


Grammar: TypeAlias = Callable[[Voice, np.random.Generator], Syllables]  # draws one song of one bird


def draw_voice(rng: np.random.Generator) -> Voice:
    """A bird of its own: pitch within about 5 %, tempo within about 6 % of its species."""
    pitch, tempo = np.exp2(rng.normal(0, (0.075, 0.09))).tolist()
    return Voice(pitch, tempo, int(rng.integers(2**31)))


def whistles(voice: Voice, rng: np.random.Generator, steps: Sequence[float]) -> Syllables:
    """Pure whistles: one on each step (semitones over the bird's tonic), the last repeated one to three times."""
    last = (steps[-1],) * int(rng.integers(0, 3))
    syllables, now_s = [], 0.0
    for number, step in enumerate((*steps, *last)):
        duration_s = (0.42 if number == 0 else 0.24) / voice.tempo * rng.uniform(0.9, 1.1)
        hz = 2_450 * voice.pitch * 2 ** (step / 12) * rng.normal(1, 0.006)
        contour = tuple(hz * np.array((0.985, 1.0, 1.004, 0.99)))
        syllables.append(Syllable(now_s, duration_s, contour, attack_s=0.03, release_s=0.04, breath=0.05))
        now_s += duration_s + 0.075 / voice.tempo
    return tuple(syllables)


def trill(voice: Voice, rng: np.random.Generator, rate_hz: float, low_hz: float, high_hz: float) -> Syllables:
    """One down-slurred note again and again, swelling over the first third."""
    interval_s = 1 / (rate_hz * voice.tempo)
    count = round(rng.uniform(1.1, 2.2) / interval_s)
    contour = tuple(voice.pitch * np.array((high_hz, (high_hz * low_hz**2) ** (1 / 3), low_hz)))
    syllable = Syllable(0, 0.62 * interval_s, contour, attack_s=0.006, release_s=0.012)
    swell_db = np.minimum(0, -14 + 42 * np.arange(count) / count) + rng.normal(0, 0.7, count)
    return tuple(at(syllable, number * interval_s, level_db) for number, level_db in enumerate(swell_db.tolist()))


def repeated_phrases(voice: Voice, rng: np.random.Generator) -> Syllables:
    """A thrush: one phrase of the bird's repertoire, sung two to four times over."""
    own = np.random.default_rng((voice.repertoire, int(rng.integers(9))))
    phrase, now_s = [], 0.0
    for _ in range(own.integers(2, 5)):
        syllable = _syllable(own, 1_700 * voice.pitch, 4_700 * voice.pitch, own.uniform(0.07, 0.24) / voice.tempo)
        buzzy = own.random() < 0.2
        syllable = replace(syllable, partials=FLUTE, flutter_hz=85, flutter_depth=0.8 * buzzy)
        phrase.append(at(syllable, now_s))
        now_s += syllable.duration_s + own.uniform(0.02, 0.08)
    return _repeat(phrase, now_s + 0.12 / voice.tempo, int(rng.integers(2, 5)))


def cascade(voice: Voice, rng: np.random.Generator) -> Syllables:
    """A finch: three tiers of notes, each faster and lower than the one before, and a flourish."""
    own = np.random.default_rng(voice.repertoire)
    syllables: list[Syllable] = []
    now_s = 0.0
    for top_hz, rate_hz, count in ((5_600, 6.5, 4), (4_700, 9.5, 5), (3_700, 13.0, 5)):
        shape = top_hz * voice.pitch * np.array((1.05, 0.72, 0.66)) * np.exp2(own.normal(0, 0.05, 3))
        for _ in range(count + int(rng.integers(0, 3))):
            syllables.append(
                Syllable(now_s, 0.6 / rate_hz, tuple(shape), -5 + min(len(syllables), 5), FLUTE, release_s=0.015)
            )
            now_s += 1 / (rate_hz * voice.tempo)
    ending = voice.pitch * np.array((2_500, 4_600, 2_900, 5_200, 2_700))
    return (*syllables, Syllable(now_s + 0.03, 0.3 / voice.tempo, tuple(ending), 1, FLUTE))


def warble(voice: Voice, rng: np.random.Generator) -> Syllables:
    """A babbler: a hurried, rambling run of short notes out of a large stock, without a repeat in a row."""
    own = np.random.default_rng(voice.repertoire)
    stock = [_syllable(own, 1_900 * voice.pitch, 5_800 * voice.pitch, own.uniform(0.045, 0.13)) for _ in range(24)]
    syllables, now_s = [], 0.0
    for choice in rng.permutation(len(stock))[: rng.integers(12, 24)]:
        syllables.append(at(stock[choice], now_s, rng.normal(-2, 2.5)))
        now_s += (stock[choice].duration_s + 0.022) / voice.tempo
    return tuple(syllables)


def caws(voice: Voice, rng: np.random.Generator) -> Syllables:
    """A crow: two to five nasal caws, a dense stack of harmonics."""
    duration_s = 0.29 / voice.tempo
    contour = tuple(voice.pitch * np.array((430, 545, 560, 500, 405)))
    caw = Syllable(0, duration_s, contour, partials=VOWEL, attack_s=0.03, release_s=0.07, breath=0.35, breath_hz=90)
    return _repeat([caw], duration_s + rng.uniform(0.16, 0.3), int(rng.integers(2, 6)))


def coos(voice: Voice, rng: np.random.Generator) -> Syllables:
    """A dove: five low coos, the second one long and highest, twice or three times."""
    syllables, now_s = [], 0.0
    for hz, duration_s in ((560, 0.28), (680, 0.62), (600, 0.3), (570, 0.26), (575, 0.36)):
        contour = tuple(hz * voice.pitch * np.array((0.93, 1.0, 1.0, 0.95)))
        syllable = Syllable(now_s, duration_s / voice.tempo, contour, 0, HOOT, 0.06, 0.09, breath=0.12, breath_hz=60)
        syllables.append(syllable)
        now_s = syllable.end_s + 0.13 / voice.tempo
    return _repeat(syllables, now_s + 0.25, int(rng.integers(1, 3)))


def needles(voice: Voice, rng: np.random.Generator) -> Syllables:
    """A kinglet: thin, very high notes in pairs, rising in loudness and speed, and a lower twitter to end."""
    syllables, now_s = [], 0.0
    for number in range(int(rng.integers(7, 13))):
        hz = (8_300 if number % 2 else 7_350) * voice.pitch
        syllable = Syllable(now_s, 0.085 / voice.tempo, (hz * 1.02, hz, hz * 0.97), -9 + 0.8 * number)
        syllables.append(syllable)
        now_s = syllable.end_s + (0.055 - 0.002 * number) / voice.tempo
    twitter = Syllable(now_s, 0.045, (7_400 * voice.pitch, 5_700 * voice.pitch))
    return (*syllables, *(at(twitter, now_s + 0.06 * number) for number in range(int(rng.integers(2, 5)))))


def buzzes(voice: Voice, rng: np.random.Generator) -> Syllables:
    """A short buzz and a long one, lower in pitch, rough at some 80 beats a second."""
    lengths_s = (0.22, *rng.uniform(0.55, 0.95, rng.integers(1, 3)).tolist())
    syllables, now_s = [], 0.0
    for number, length_s in enumerate(lengths_s):
        hz = (6_600 if number == 0 else 5_400) * voice.pitch
        syllables.append(
            Syllable(
                now_s,
                length_s / voice.tempo,
                (hz * 0.97, hz, hz * 1.02),
                level_db=-4.0 * (number == 0),
                partials=((1, 0), (0.86, -3), (1.14, -4)),
                flutter_hz=82 * voice.tempo,
                flutter_depth=0.95,
                breath=0.75,
                breath_hz=1_100,
            )
        )
        now_s = syllables[-1].end_s + 0.07
    return tuple(syllables)


def slides(voice: Voice, rng: np.random.Generator) -> Syllables:
    """A cuckoo of the treetops: a soft tick, then one long whistle that slides down more than an octave."""
    high_hz, low_hz = voice.pitch * rng.normal(6_300, 150), voice.pitch * 2_300
    tick = Syllable(0, 0.05, (high_hz * 0.8, high_hz), -10)
    bend = (high_hz, high_hz * 0.88, (high_hz * low_hz) ** 0.5, low_hz * 1.12, low_hz)
    return (tick, Syllable(0.16, rng.uniform(0.75, 1.0) / voice.tempo, bend, 0, FLUTE, 0.05, 0.12))


def drum(voice: Voice, rng: np.random.Generator) -> Syllables:
    """A woodpecker: wooden strikes that quicken and fade."""
    count = int(rng.integers(14, 24))
    intervals_s = np.linspace(1 / 14, 1 / 23, count) / voice.tempo
    strike = Syllable(0, 0.05, (980 * voice.pitch,), 0, STRIKE, 0.001, 0.02, decay_s=0.009, breath=0.5, breath_hz=350)
    fade_db = -9 * np.linspace(0, 1, count) ** 2 + rng.normal(0, 0.8, count)
    starts_s = np.cumsum(intervals_s) - intervals_s[0]
    return tuple(at(strike, *placed) for placed in zip(starts_s.tolist(), fade_db.tolist(), strict=True))


def chimes(voice: Voice, rng: np.random.Generator) -> Syllables:
    """A bellbird: metallic two-tone strokes with inharmonic partials, three to six of them."""
    first = Syllable(0, 0.34, (2_050 * voice.pitch,), 0, BELL, 0.003, 0.08, decay_s=0.13)
    second = Syllable(0.21 / voice.tempo, 0.42, (1_560 * voice.pitch,), -2, BELL, 0.003, 0.1, decay_s=0.16)
    return _repeat([first, second], rng.uniform(0.62, 0.75) / voice.tempo, int(rng.integers(3, 7)))


def sections(voice: Voice, rng: np.random.Generator) -> Syllables:
    """A wren: four to six sections without a pause, each a trill of its own syllable, fast and loud."""
    own = np.random.default_rng(voice.repertoire)
    stock = [_syllable(own, 2_800 * voice.pitch, 8_400 * voice.pitch, length) for length in (0.03, 0.05, 0.07, 0.11)]
    syllables: list[Syllable] = []
    now_s = 0.0
    for _ in range(int(rng.integers(4, 7))):
        syllable = stock[rng.integers(len(stock))]
        interval_s = (syllable.duration_s + 0.015) / voice.tempo
        count = max(2, round(rng.uniform(0.4, 0.8) / interval_s))
        syllables += [at(syllable, now_s + number * interval_s) for number in range(count)]
        now_s += count * interval_s + 0.03
    return tuple(syllables)


def churr(voice: Voice, rng: np.random.Generator) -> Syllables:
    """A nightjar: a dry churr that runs on for seconds, now on a higher, now on a lower pitch."""
    syllables, now_s = [], 0.0
    for number in range(int(rng.integers(2, 6))):
        hz, pulse_hz = ((1_750, 40.0), (1_480, 33.0))[number % 2]
        syllable = Syllable(
            now_s,
            rng.uniform(0.7, 2.0),
            (hz * voice.pitch,),
            level_db=-2.0 * (number % 2),
            partials=((1, 0), (2, -14), (3, -24)),
            flutter_hz=pulse_hz * voice.tempo,
            flutter_depth=1.0,
            breath=0.3,
            breath_hz=160,
        )
        syllables.append(syllable)
        now_s = syllable.end_s
    return tuple(syllables)


rising_whistles = partial(whistles, steps=(0.0, 3.0, 7.0))
falling_whistles = partial(whistles, steps=(7.0, 3.0, 0.0))
slow_trill = partial(trill, rate_hz=12.0, low_hz=3_900.0, high_hz=6_300.0)
quick_trill = partial(trill, rate_hz=16.5, low_hz=3_700.0, high_hz=5_900.0)


def _syllable(rng: np.random.Generator, low_hz: float, high_hz: float, duration_s: float) -> Syllable:
    """A syllable at random: two to four points of a contour within the band."""
    points = low_hz * (high_hz / low_hz) ** rng.beta(1.3, 1.3, rng.integers(2, 5))
    return Syllable(0, duration_s, tuple(points.tolist()), rng.normal(-1, 1.5), WHISTLE, 0.008, 0.012)


def _repeat(syllables: Sequence[Syllable], period_s: float, times: int) -> Syllables:
    return tuple(at(syllable, syllable.start_s + turn * period_s) for turn in range(times) for syllable in syllables)


@dataclass(frozen=True)
class Species:
    """A species: its names, its song, and where and how it sings."""

    label: str
    scientific_name: str
    common_name: str
    grammar: Grammar
    pause_s: float  # between songs, on average
    homes: tuple[str, ...]  # habitats that it prefers
    sound: str = "song"


# the commonest first
SPECIES = (
    Species("lanthr1", "Lucerniturdus repetitor", "Lantern Thrush", repeated_phrases, 0.8, ("forest", "village")),
    Species("martri1", "Trillornis palustris", "Marsh Triller", slow_trill, 2.0, ("reedbed", "meadow")),
    Species("duswhi1", "Sibilornis ascendens", "Dusk Whistler", rising_whistles, 1.7, ("forest", "hillside")),
    Species("brafin1", "Rubifringilla cascadans", "Bramble Finch", cascade, 2.2, ("village", "forest")),
    Species("aldbab1", "Alnicola garrula", "Alder Babbler", warble, 1.3, ("reedbed", "village")),
    Species("ashcro1", "Cinerocorax nasalis", "Ash Crow", caws, 1.8, ("meadow", "village"), "call"),
    Species("ridtri1", "Trillornis montanus", "Ridge Triller", quick_trill, 2.0, ("hillside", "forest")),
    Species("embdov1", "Pyrocolumba gravis", "Ember Dove", coos, 1.4, ("village", "forest")),
    Species("neekin1", "Acuregulus altivox", "Needle Kinglet", needles, 1.5, ("forest", "hillside")),
    Species("palwhi1", "Sibilornis descendens", "Pale Whistler", falling_whistles, 1.7, ("meadow", "hillside")),
    Species("reebuz1", "Stridornis arundinis", "Reed Buzzer", buzzes, 1.8, ("reedbed", "meadow")),
    Species("veicuc1", "Velocuculus labens", "Veil Cuckoo", slides, 1.5, ("forest", "hillside")),
    Species("oakdru1", "Tympanopicus roboris", "Oak Drummer", drum, 2.1, ("forest", "village"), "drumming"),
    Species("tinbel1", "Campanornis duplex", "Tinker Bellbird", chimes, 1.7, ("hillside", "forest")),
    Species("moswre1", "Bryotroglodytes longus", "Moss Wren", sections, 2.4, ("forest", "reedbed")),
    Species("heanig1", "Noctichurra susurrans", "Heath Nightjar", churr, 1.0, ("meadow", "hillside")),
)

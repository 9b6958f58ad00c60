"""The species of the synthetic chorus, the commonest first. All of them are invented."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.synthetic import songs


@dataclass(frozen=True)
class Species:
    """A species: its names, its song, and where and how it sings."""

    label: str
    scientific_name: str
    common_name: str
    grammar: songs.Grammar
    pause_s: float  # between songs, on average
    homes: tuple[str, ...]  # habitats that it prefers
    sound: str = "song"


SPECIES = (
    Species("lanthr1", "Lucerniturdus repetitor", "Lantern Thrush", songs.repeated_phrases, 0.8, ("forest", "village")),
    Species("martri1", "Trillornis palustris", "Marsh Triller", songs.slow_trill, 2.0, ("reedbed", "meadow")),
    Species("duswhi1", "Sibilornis ascendens", "Dusk Whistler", songs.rising_whistles, 1.7, ("forest", "hillside")),
    Species("brafin1", "Rubifringilla cascadans", "Bramble Finch", songs.cascade, 2.2, ("village", "forest")),
    Species("aldbab1", "Alnicola garrula", "Alder Babbler", songs.warble, 1.3, ("reedbed", "village")),
    Species("ashcro1", "Cinerocorax nasalis", "Ash Crow", songs.caws, 1.8, ("meadow", "village"), "call"),
    Species("ridtri1", "Trillornis montanus", "Ridge Triller", songs.quick_trill, 2.0, ("hillside", "forest")),
    Species("embdov1", "Pyrocolumba gravis", "Ember Dove", songs.coos, 1.4, ("village", "forest")),
    Species("neekin1", "Acuregulus altivox", "Needle Kinglet", songs.needles, 1.5, ("forest", "hillside")),
    Species("palwhi1", "Sibilornis descendens", "Pale Whistler", songs.falling_whistles, 1.7, ("meadow", "hillside")),
    Species("reebuz1", "Stridornis arundinis", "Reed Buzzer", songs.buzzes, 1.8, ("reedbed", "meadow")),
    Species("veicuc1", "Velocuculus labens", "Veil Cuckoo", songs.slides, 1.5, ("forest", "hillside")),
    Species("oakdru1", "Tympanopicus roboris", "Oak Drummer", songs.drum, 2.1, ("forest", "village"), "drumming"),
    Species("tinbel1", "Campanornis duplex", "Tinker Bellbird", songs.chimes, 1.7, ("hillside", "forest")),
    Species("moswre1", "Bryotroglodytes longus", "Moss Wren", songs.sections, 2.4, ("forest", "reedbed")),
    Species("heanig1", "Noctichurra susurrans", "Heath Nightjar", songs.churr, 1.0, ("meadow", "hillside")),
)

ALIKE = (("martri1", "ridtri1"), ("duswhi1", "palwhi1"))  # much the same notes; rate or order tells them apart

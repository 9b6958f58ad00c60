"""What labelled windows of soundscapes switch on in params.yaml."""

from typing import Any

from commands.project.data_facts import DataFacts

SHARE = 0.1  # of an epoch's clips


def fill_soundscapes(document: Any, facts: DataFacts) -> None:
    """Let windows teach if another site examines, and judge epochs if each of folds.count has a site; prints which."""
    sites, baseline = facts.window_sites, document["train"]["baseline"]
    judges = sites >= document["folds"]["count"]
    told = "examine, but do not teach, which takes two: give each site a folder, or set data.soundscape_names"
    told += "; of one site, set folds.soundscapes: site_and_day; then sampling.shares (docs/soundscapes.md)"
    if sites > 1:
        baseline["sampling"]["shares"] |= {"recordings": 1 - SHARE, "soundscapes": SHARE}
        baseline["judge"] = "both" if judges else "recordings"
        told = f"teach (one clip in {1 / SHARE:.0f}){' and judge epochs' * judges}"
    if facts.soundscape_labels:
        print(f"{facts.soundscape_labels}: windows at {sites} site(s) {told}")

"""Stage `report`: reports/report.html, a page with sounds, and all pictures in reports/figures."""

from typing import Any

import pandas as pd

from birdcache.errors import run_stage
from birdcache.files import write_durably, writing
from birdcache.params import load as parameters
from birdcache.params.model import Params
from cache.csv_files import write_csv
from commands.report.augmentations import augmentation_examples
from commands.report.clips import gallery, mistakes, unsure
from commands.report.data_set import data_set
from commands.report.figures import draw_all
from commands.report.page import Filled, fill, render
from commands.report.quality import quality
from commands.report.results import PipelineResults, read_results
from commands.report.timelines import timelines
from commands.report.training import training
from train.paths import REPORTS

PAGE = REPORTS / "report.html"
MB = 1e6


def main() -> None:
    """Write reports/report.html, the pictures, and the tables that `dvc plots` draws."""
    params = parameters.load()
    results = read_results()
    rare_below = params.evaluate.rare_below
    sections: dict[str, Any] = {  # without pictures and sounds
        "results": results,
        "data": data_set(results, rare_below),
        "quality": quality(results, rare_below, params.report.resamples),
        "training": training(results),
        "budget_mb": params.report.budget_mb,
    }
    page = fitted(sections, results, params).encode()
    with writing(PAGE):
        write_durably(PAGE, page)
    write_csv(sections["training"]["curves"], REPORTS / "trainings.csv", "%.6g")
    write_csv(pd.DataFrame(sections["quality"]["calibration"].bins), REPORTS / "calibration.csv", "%.4f")
    draw_all(results, sections["training"]["logs"], params)
    print(f"{PAGE}: {len(page) / MB:.1f} MB; open it in a browser; it needs no network")
    if len(page) > params.report.budget_mb * MB:
        print(f"this exceeds report.budget_mb = {params.report.budget_mb:g}: tables and charts are never left out")


def fitted(sections: dict[str, Any], results: PipelineResults, params: Params) -> str:
    """The page with as many pictures and sounds as its budget allows."""
    nothing = Filled({name: [] for name in pieces(results, params)}, frozenset())
    bare = len(render(sections | {"pieces": nothing, "size_mb": 0.0}).encode())
    filled = fill(pieces(results, params), round(params.report.budget_mb * MB) - bare)
    sections = sections | {"pieces": filled}
    return render(sections | {"size_mb": len(render(sections | {"size_mb": 0.0}).encode()) / MB})


def pieces(results: PipelineResults, params: Params) -> dict[str, Any]:
    """Pictures and sounds by section, made on demand, in the order of their priority."""
    report = params.report
    return {
        "seen": augmentation_examples(results, params.machine),
        "mistakes": mistakes(results, report.clips, report.clip_s),
        "unsure": unsure(results, report.clips, report.clip_s),
        "timelines": timelines(results, report.soundscapes, report.soundscape_s),
        "gallery": gallery(results, report.gallery, report.clip_s),
    }


if __name__ == "__main__":
    run_stage(main)

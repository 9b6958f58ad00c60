"""Reports on a bundle: reports/export.json, .csv and .md."""

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from birdcache.files import write_text
from cache.csv_files import write_csv
from train.paths import REPORTS
from train.score.markdown import markdown

PIPELINE, GRAPH = "pipeline (PyTorch)", "ONNX float32"
NONE = float("nan")

Way = dict[str, float]  # figures of one predictor (the pipeline, or the graph), and differences from the pipeline


def write_reports(ways: Mapping[str, Way], facts: Mapping[str, Any]) -> None:
    """Write the table in all formats."""
    rows = [{"way": name, **row} for name, row in ways.items()]
    content = {**facts, "machine": machine(), "ways": ways}
    write_text(REPORTS / "export.json", json.dumps(content, indent=2) + "\n")
    write_csv(pd.DataFrame(rows), REPORTS / "export.csv", "%.6g")
    files = f"soundscapes: {facts['soundscapes']}, recordings: {facts['recordings']}, {facts['hours']:.2f} h"
    title = f"Bundle `{facts['bundle']}` beside the pipeline ({files}); one core of {machine()}."
    write_text(REPORTS / "export.md", f"{title}\n\n{markdown(pd.DataFrame(map(_cells, rows)))}\n")


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "": row["way"],
        "size": f"{row['size_mb']:.2f} MB",
        "x realtime, one core": f"{row['realtime_on_one_core']:.0f}",
        "largest difference": f"{row['largest_difference']:.1e}" if row["largest_difference"] else "",
        "mean": f"{row['mean_difference']:.1e}" if row["mean_difference"] else "",
        "detections that change": f"{row['changed_detections']:.2%}" if row["way"] != PIPELINE else "",
        "soundscapes: macro ROC-AUC": row.get("soundscapes_macro_roc_auc", NONE),
        "cmAP": row.get("soundscapes_cmap", NONE),
    }


def machine() -> str:
    """Processor, number of cores and Python version of this machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()} ({os.cpu_count()} cores), Python {platform.python_version()}"

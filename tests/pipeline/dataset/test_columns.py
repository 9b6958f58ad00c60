"""Tables of recordings whose columns are called otherwise, and xeno-canto's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from birdcache.errors import PipelineError
from birdcache.params.sections import DataParams
from pipeline.dataset.metadata import Metadata, read_metadata

MakeParams = Callable[..., DataParams]


@pytest.fixture
def read(birdclef: Path, data_params: MakeParams) -> Callable[..., Metadata]:
    """A function that reads the data set by a table of these lines."""

    def metadata(lines: list[str], table: str = "list.csv", **changes: Any) -> Metadata:
        (birdclef / table).write_text("\n".join(lines) + "\n")
        return read_metadata(data_params(table=table, soundscape_truth=None, **changes))

    return metadata


MINE = {"label": "ebird_code", "file": "filepath", "author": "recordist", "secondary": "others", "rating": "grade"}


def test_mapped_columns_are_read(read: Callable[..., Metadata]) -> None:
    lines = [
        "filepath,EBIRD_code,recordist,others,grade,latitude,date",
        "wren/XC2.ogg,wren,Ann,robin; owl,A,51.5,2019-05-25",
        "robin/XC0.ogg,robin,Bob,,no score,,",
    ]
    metadata = read(lines, columns=MINE)
    wanted = ["recording", "label", "secondary", "author", "rating", "latitude", "date"]
    assert metadata.recordings[wanted].fillna(-1).to_numpy().tolist() == [
        ["robin/XC0.ogg", "robin", "", "Bob", -1, -1, ""],
        ["wren/XC2.ogg", "wren", "robin owl", "Ann", 5, 51.5, "2019-05-25"],
    ]
    assert any("no row of the table of recordings that is used names them" in warning for warning in metadata.warnings)


def test_scientific_names_can_be_labels(read: Callable[..., Metadata]) -> None:
    lines = ["filename,scientific_name,heard", "wren/XC2.ogg,Troglodytes troglodytes,\"['Erithacus rubecula', '']\""]
    metadata = read(lines, columns={"label": "scientific_name", "secondary": "heard"})
    row = metadata.recordings.iloc[0]
    assert (row["label"], row["secondary"]) == ("Troglodytes_troglodytes", "Erithacus_rubecula")
    assert metadata.taxonomy.loc["Troglodytes_troglodytes", "scientific_name"] == "Troglodytes troglodytes"


XENO_CANTO = "id,gen,sp,ssp,group,en,rec,cnt,loc,lat,lng,alt,type,url,file,file-name,lic,q,length,time,date,also"


@pytest.mark.parametrize("header", [XENO_CANTO, XENO_CANTO.replace("lng", "lon").replace("group", "grp")])
def test_tables_of_xeno_canto_are_read(read: Callable[..., Metadata], birdclef: Path, header: str) -> None:
    (birdclef / "train_audio").rename(birdclef / "downloads")
    wren = "1,Troglodytes,troglodytes,,birds,Wren,Ann,UK,Kew,51.5,-0.1,9,song,u,f,downloads/wren/XC2.ogg,c,A,1:00,05:00"
    robin = "2,Erithacus,rubecula,,birds,Robin,Bob,UK,Kew,,,9,song,u,f,downloads/robin/XC0.ogg,c,no score,1:00,05:00"
    nobody = "3,Mystery,mystery,,birds,Identity unknown,Bob,UK,Kew,,,9,song,u,f,downloads/robin/XC1.ogg,c,E,1:00,05:00"
    lines = [
        header,
        f"{wren},2019-05-25,\"['Parus major', 'Erithacus rubecula']\"",
        f"{robin},2014-05-00,['']",
        f"{nobody},2014-05-01,",
    ]
    metadata = read(lines, columns="xeno-canto")
    wanted = ["recording", "label", "secondary", "author", "rating", "latitude", "longitude", "date"]
    also = "Parus_major Erithacus_rubecula"
    assert metadata.recordings[wanted].fillna(-1).to_numpy().tolist() == [
        ["downloads/robin/XC0.ogg", "Erithacus_rubecula", "", "Bob", -1, -1, -1, ""],
        ["downloads/wren/XC2.ogg", "Troglodytes_troglodytes", also, "Ann", 5, 51.5, -0.1, "2019-05-25"],
    ]
    names = metadata.taxonomy[metadata.taxonomy.index == "Erithacus_rubecula"]
    assert names.to_numpy().tolist() == [["Erithacus rubecula", "Robin", ""]]
    assert any("of genus Mystery or Sonus, which is no single species: 1" in warning for warning in metadata.warnings)


def test_a_rule_names_the_tables_own_column(read: Callable[..., Metadata]) -> None:
    with pytest.raises(PipelineError) as raised:
        read(["filepath,ebird_code,grade", "wren/XC2.ogg,,A", "../a.ogg,wren,F"], columns=MINE | {"author": "grade"})
    assert "missing columns: others; row 1 must name them" in str(raised.value)
    mine = {key: MINE[key] for key in ("label", "file", "rating")}
    with pytest.raises(PipelineError) as raised:
        read(["filepath,ebird_code,grade", "wren/XC2.ogg,,A", "../a.ogg,wren,F"], columns=mine)
    assert "row 2: ebird_code is empty; name the species" in str(raised.value)
    assert "row 3: filepath must be a path inside the audio folder" in str(raised.value)
    assert "row 3: grade must be a number from 0 to 5" in str(raised.value)


@pytest.mark.parametrize("changes", [{"columns": {"label": "x"}}, {"columns": "xeno-canto"}, {"table": "x.csv"}])
def test_keys_of_tables_are_refused_where_no_table_is_read(data_params: MakeParams, changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="is of layout birdclef, not folders"):
        data_params(layout="folders", **changes)


@pytest.mark.parametrize("columns", ["xenocanto", {"species": "x"}, {"label": 1}])
def test_unknown_columns_are_refused(data_params: MakeParams, columns: object) -> None:
    with pytest.raises(ValidationError):
        data_params(columns=columns)


def test_a_source_may_be_a_download_of_xeno_canto(birdclef: Path, data_params: MakeParams) -> None:
    Path("xc").mkdir()
    for number in range(2):
        (birdclef / f"train_audio/wren/XC{2 + number}.ogg").rename(f"xc/XC{number}.ogg")
    rows = ["gen,sp,file-name,q", "Troglodytes,troglodytes,XC0.ogg,B", "Corvus,corax,XC1.ogg,A"]
    Path("xc/downloads.csv").write_text("\n".join(rows) + "\n")
    rows = [row for row in (birdclef / "train.csv").read_text().splitlines() if "wren" not in row.split(",")[0]]
    (birdclef / "train.csv").write_text("\n".join(rows) + "\n")
    source: dict[str, Any] = {"layout": "birdclef", "root": "xc", "table": "downloads.csv", "columns": "xeno-canto"}
    source["labels"] = {"Troglodytes_troglodytes": "wren"}
    table = read_metadata(data_params(sources={"xc": source}, soundscape_truth=None)).recordings
    found = table.loc[table["source"] == "xc", ["recording", "path", "label", "rating"]].to_numpy().tolist()
    assert found == [["xc/XC0.ogg", "xc/XC0.ogg", "wren", 4], ["xc/XC1.ogg", "xc/XC1.ogg", "Corvus_corax", 5]]

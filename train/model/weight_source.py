"""Sources of a member's first weights: a file of any project, or a model that was trained here."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import AliasPath, BaseModel, ConfigDict, Field, ValidationError

from birdcache.errors import TrainError
from birdcache.files import file_sha256, verified_json

SIDECAR = "model.json"


class Trained(BaseModel):
    """The fields that are read of a source's sidecar: few, so that models of other versions can be sources."""

    version: int = 1  # from 2 on they have a seal
    backbone: str = Field(validation_alias=AliasPath("member", "member", "backbone"))
    head: str = Field(validation_alias=AliasPath("member", "member", "head"))
    weights: str = Field(validation_alias=AliasPath("member", "recipe", "weights"))
    sha256: dict[str, str]


class Origin(BaseModel):
    """What `birdcache weights import` writes beside a file of weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    backbone: str
    file: str  # name of the file that they were in
    file_sha256: str
    weights_sha256: str
    source: str
    licence: str


@dataclass(frozen=True)
class WeightSource:
    """A file of weights, whose names of tensors may be any, or one of a trained model."""

    path: Path
    sha256: str
    trained: Trained | None = None
    origin: Origin | None = None


def find_source(pretrained: str, key: str = "pretrained") -> WeightSource:
    """The weights that a member's `pretrained` names, verified by their bytes.

    A TrainError if there is no such file, or a trained model's weights are not those of its sidecar.

    Parameters
    ----------
    pretrained : a file of weights, the folder of a trained model, or a file in such a folder. Of a folder, the weights
        that its recipe keeps are taken (last, best or soup).
    key : of params.yaml, for messages.
    """
    path = Path(pretrained)
    where = f"params.yaml: {key} = {pretrained!r}"
    if path.is_dir():
        return _trained(path, None, where)
    if not path.is_file():
        raise TrainError(f"{where}: no such file or folder; correct the path or set it to false")
    if path.suffix == ".safetensors" and (path.parent / SIDECAR).is_file():
        return _trained(path.parent, path.stem, where)
    sha256 = file_sha256(path)
    return WeightSource(path, sha256, origin=_read_origin(path, sha256, where))


def _read_origin(path: Path, sha256: str, where: str) -> Origin | None:
    record = path.with_suffix(".json")
    if path.suffix != ".safetensors" or not record.is_file():
        return None
    with suppress(ValidationError):
        if (origin := Origin.model_validate_json(record.read_bytes())).weights_sha256 == sha256:
            return origin
    said = f"{record} is not what `birdcache weights import` wrote beside {path}; import them again, or remove it"
    raise TrainError(f"{where}: {said}")


def _trained(folder: Path, kind: str | None, where: str) -> WeightSource:
    sidecar = _read_sidecar(folder, where)
    kind = kind or sidecar.weights
    path = folder / f"{kind}.safetensors"
    if kind not in sidecar.sha256 or not path.is_file():
        named = ", ".join(f"{each}.safetensors" for each in sidecar.sha256)
        raise TrainError(f"{where}: {path} is missing, or {folder / SIDECAR} does not list it; it lists {named}")
    sha256 = file_sha256(path)
    if sha256 != sidecar.sha256[kind]:
        raise TrainError(f"{where}: {path} does not match the checksum in {SIDECAR}; copy the folder again")
    return WeightSource(path, sha256, sidecar)


def _read_sidecar(folder: Path, where: str) -> Trained:
    try:
        content = (folder / SIDECAR).read_bytes()
        sidecar = Trained.model_validate_json(content)
        if sidecar.version > 1:
            verified_json(content)
    except FileNotFoundError:
        folds = sorted(path.parent.name for path in folder.glob(f"*/{SIDECAR}"))
        hint = f"name one of its folds: {', '.join(folds)}" if folds else "name the folder of a fold, models/x/0"
        raise TrainError(f"{where}: holds no {SIDECAR}, so it is not a trained model; {hint}") from None
    except ValidationError as error:
        raise TrainError(f"{where}: {folder / SIDECAR}: {error.errors()[0]['msg']}; copy the folder again") from None
    except ValueError as error:
        raise TrainError(f"{where}: {folder / SIDECAR}: {error}; copy the folder again") from None
    return sidecar

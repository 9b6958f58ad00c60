"""`birdcache weights import`: weights of any project as a file that members can start from, and where they are from."""

import argparse
from pathlib import Path

from safetensors.torch import save

from birdcache.errors import TrainError
from birdcache.files import file_sha256, sha256_hex, write_durably, write_text
from train.model.classifier import check_backbone
from train.model.pretrained import conversions, take_weights
from train.model.sizes import create, opened
from train.model.weight_source import SIDECAR, Origin, WeightSource


def run(arguments: argparse.Namespace) -> None:
    """Write the weights under timm's names, and their origin beside them; print what became of the file's tensors.

    A TrainError if they cannot be read without running code, do not fit the backbone, or cannot be called so.
    """
    file, backbone = arguments.file, arguments.backbone
    check_backbone(backbone, "--backbone")
    out = arguments.out or Path("weights") / f"{backbone}.safetensors"
    if out.suffix != ".safetensors" or out.with_suffix(".json").name == SIDECAR:
        raise TrainError(f"--out {out}: must end in .safetensors and not be called model; choose another name")
    if not file.is_file():
        raise TrainError(f"{file}: no such file; correct the path")
    source = WeightSource(file, file_sha256(file))
    with conversions(True) as filters:
        network = create(backbone, {**opened(backbone), "pretrained": True})
    taken = take_weights(network, source, filters, 3, None, f"--backbone {backbone}")
    content = save({name: tensor.contiguous() for name, tensor in taken.tensors.items()})
    digests = {"file_sha256": source.sha256, "weights_sha256": sha256_hex(content)}
    said = {"backbone": backbone, "file": file.name, "source": arguments.source, "licence": arguments.licence}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_durably(out, content)
    write_text(out.with_suffix(".json"), Origin(**digests, **said).model_dump_json(indent=2) + "\n")
    print(f"{taken.told}\n")
    for what, names in (("renamed", taken.renamed), ("adapted", taken.adapted), ("left out", taken.left)):
        print(f"{what:<9}{len(names):>5}  {', '.join(names[:3])}{', ...' * (len(names) > 3)}".rstrip())
    print(f"\n{out}: members take it by pretrained: {out}, with images of any number of channels")

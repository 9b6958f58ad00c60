"""A plain training script, as found in many notebooks: what a first `birdcache init` must beat.

Each recording's first seconds become a mel spectrogram (librosa), a timm network with ImageNet weights is fine-tuned
with mixup and one cycle of AdamW, and each fold of train.csv is scored by a network that did not learn it. Nothing of
birdcache is used but its folder layout: train.csv with columns primary_label, filename and fold, and train_audio/.
"""

from __future__ import annotations

import json
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import timm
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.timing import parser_of
from birdcache.progress import Progress

RATE_HZ, CLIP_S, BATCH = 32000, 5, 16


def main() -> None:
    """Train on all folds for each seed; print accuracies in per cent."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("root", type=Path)
    parser.add_argument("weights", type=Path, help="weights of the network, under timm's names")
    parser.add_argument("--network", default="tf_efficientnet_lite0")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    table = pd.read_csv(arguments.root / "train.csv")
    with Progress(len(table), "mel", "recordings") as progress:
        images = torch.stack([image(arguments.root / "train_audio" / name, progress) for name in table["filename"]])
    labels = torch.as_tensor(pd.factorize(table["primary_label"])[0])
    rows = []
    for seed in arguments.seeds:
        for fold in sorted(table["fold"].unique()):
            held = torch.as_tensor((table["fold"] == fold).to_numpy(copy=True))
            torch.manual_seed(seed)
            model = network(arguments.network, arguments.weights, int(labels.max()) + 1)
            fit(model, TensorDataset(images[~held], labels[~held]), arguments.epochs)
            rows.append({"seed": seed, "fold": int(fold), "accuracy": accuracy(model, images[held], labels[held])})
            print(rows[-1], flush=True)
        print(f"seed {seed}: mean {np.mean([row['accuracy'] for row in rows if row['seed'] == seed]):.1f}", flush=True)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=2) + "\n")


def image(path: Path, progress: Progress) -> torch.Tensor:
    """Log mel power of a recording's first seconds, mean 0 and deviation 1: (1, mel bins, frames)."""
    samples, _ = librosa.load(path, sr=RATE_HZ, duration=CLIP_S)
    samples = librosa.util.fix_length(samples, size=RATE_HZ * CLIP_S)
    power = librosa.feature.melspectrogram(y=samples, sr=RATE_HZ, n_fft=2048, hop_length=512, n_mels=128, fmin=20)
    decibels = librosa.power_to_db(power, ref=np.max)
    progress.update(1)
    return torch.as_tensor((decibels - decibels.mean()) / (decibels.std() + 1e-6), dtype=torch.float32)[None]


def network(name: str, weights: Path, classes: int) -> nn.Module:
    """A network for one channel with pretrained weights: those of the first layer are summed over colours."""
    model: nn.Module = timm.create_model(name, num_classes=classes, in_chans=1)
    state = {key: value for key, value in load_file(weights).items() if not key.startswith("classifier.")}
    state["conv_stem.weight"] = state["conv_stem.weight"].sum(dim=1, keepdim=True)
    model.load_state_dict(state, strict=False)
    return model


def fit(model: nn.Module, data: TensorDataset, epochs: int) -> None:
    """Fine-tune with mixup and one cycle of the learning rate."""
    loader = DataLoader(data, BATCH, shuffle=True, drop_last=True)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, epochs * len(loader))
    mixing = torch.distributions.Beta(0.4, 0.4)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    model.train()
    for _ in range(epochs):
        for images, labels in loader:
            share, other = mixing.sample(), torch.randperm(len(labels))
            logits = model(share * images + (1 - share) * images[other])
            loss = share * loss_of(logits, labels) + (1 - share) * loss_of(logits, labels[other])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()


@torch.no_grad()
def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Per cent of recordings whose class scores highest."""
    model.eval()
    found = torch.cat([model(batch).argmax(dim=1) for batch in torch.split(images, 64)])
    return 100 * float((found == labels).double().mean())


if __name__ == "__main__":
    main()

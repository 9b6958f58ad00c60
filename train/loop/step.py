"""Training steps: forward, backward and optimiser, with all that recipes add to them. B batch, K class."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from birdcache.arrays import Ints
from birdcache.errors import TrainError
from birdcache.params.recipe import Recipe
from train.augment.batch import Batch
from train.data.teacher import Teacher
from train.loop.batch_norm import is_joint, join_batch_norm
from train.loop.distributed import Ranks
from train.loop.history import HINTS
from train.loop.optim import build_optimiser
from train.model.classifier import Classifier, Logits, autocast_dtype
from train.model.distilled import Distilled, distances
from train.model.losses import Loss, balance, class_weights, positive_weights

WARMUP_POWER = 0.75  # as timm's ModelEmaV3 for models trained for less than a million steps
DTYPES = (torch.bfloat16, torch.float16, None)  # of mixed precision; of several processes, the last that one has to use


class RunningMean:
    """The exponential moving average of a model's weights, which is validated and kept under `ema_decay`.

    After step n it keeps min(decay, 1 - n^-0.75) of what it was. Numbers are those of timm's ModelEmaV3, which gathers
    all tensors anew in each step and so takes longer than some steps do. Integers, counts of batches that nothing
    reads, are left out.
    """

    def __init__(self, model: Classifier, decay: float) -> None:
        self.model, self._decay = deepcopy(model).eval(), decay
        both = zip(self.model.state_dict().values(), model.state_dict().values(), strict=True)
        pairs = [pair for pair in both if pair[0].is_floating_point()]
        self._means, self._weights = [mean for mean, _ in pairs], [weight for _, weight in pairs]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the weights after a step, counted from 1."""
        torch._foreach_lerp_(self._means, self._weights, 1 - min(self._decay, 1 - step**-WARMUP_POWER))


class TrainingStep:
    """Takes steps with a model; several processes take each step together.

    Parameters
    ----------
    counts_K : recordings of each class that are trained on, for class weights.
    teacher : that the batches are taught by, if any.
    """

    def __init__(
        self,
        model: Classifier,
        counts_K: Ints,
        recipe: Recipe,
        device: torch.device,
        ranks: Ranks,
        teacher: Teacher | None = None,
    ) -> None:
        self._recipe, self._device, self._ranks = recipe, device, ranks
        self._layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        in_place: list[Any] = [module for module in model.modules() if getattr(module, "inplace", False)]
        for module in in_place:
            module.inplace = False  # in training each would copy what it then overwrites
        self._joint = is_joint(recipe.batch_norm, recipe.batch_size // ranks.world, ranks)
        if self._joint:
            join_batch_norm(model, ranks)
        self._model = model.to(memory_format=self._layout)
        if recipe.recompute:
            self._model.recompute()
        found = [of_classes(counts_K, recipe.loss) for of_classes in (class_weights, positive_weights, balance)]
        weights: list[Any] = [each if each is None else torch.from_numpy(each).to(device) for each in found]
        self._loss = Loss(recipe.loss, *weights)
        self._teacher = teacher.params if teacher and teacher.output else None
        distilled = Distilled(self._model, teacher) if teacher and self._teacher else None
        self._trained: nn.Module = distilled or self._model
        self.taught = torch.zeros((), device=device)  # sum over the epoch's clips of the teacher's part of their loss
        self.optimiser = build_optimiser(self._model, recipe.optimiser, distilled.projection if distilled else None)
        dtype = autocast_dtype(recipe.precision, device)
        self._dtype = DTYPES[ranks.highest(DTYPES.index(dtype), device)]
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._dtype == torch.float16)
        decay = recipe.optimiser.ema_decay
        self._ema = RunningMean(self._model, decay) if decay else None
        self._steps = 0
        torch.backends.cudnn.benchmark = True  # tries which algorithm is fastest: batches are of one shape
        # compiled inside and not around the averaging of gradients, which torch cannot combine with recomputing
        compiled = torch.compile(self._trained, dynamic=False) if recipe.compile else self._trained
        self._called: nn.Module = compiled  # type: ignore[assignment]
        self._network = ranks.parallel(self._called, device)

    @property
    def line(self) -> str:
        """Precision, device, batches and batch norm, in words."""
        name = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "the CPU"
        low: dict[Any, str] = {torch.bfloat16: "bfloat16", torch.float16: "float16 with a loss scaler"}
        precision = low.get(self._dtype, "tf32" if self._recipe.precision == "tf32" else "float32")
        size, world = self._recipe.batch_size, self._ranks.world
        norm = "joint" if self._joint else "each one's own"
        shares = f", {size // world} in each of {world} processes (batch norm: {norm})" if world > 1 else ""
        return f"computing in {precision} on {name}; batches of {size} clips{shares}"

    def scale(self) -> float | None:
        """The factor of a scaled loss; None if it is not scaled. Waits for the device."""
        return self._scaler.get_scale() if self._scaler.is_enabled() else None

    @property
    def kept(self) -> Classifier:
        """The model that is validated and saved: with ema_decay the running mean of the weights."""
        return self._ema.model if self._ema else self._model

    def begin_epoch(self, frozen: bool) -> bool:
        """Prepare an epoch; `frozen` trains the head alone. True if that has changed."""
        if changed := frozen != self._model.frozen:
            self._model.freeze_backbone(frozen)
            self._network = nn.Identity()  # DDP must release the weights before the next DDP takes them
            self._network = self._ranks.parallel(self._called, self._device)
        self._model.train()
        return changed

    def end_epoch(self) -> None:
        """Make the kept model the same in all processes."""
        self._ranks.average_buffers(self.kept)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors, in host memory, and numbers for `resume`; all of several processes must call it.

        A TrainError if a weight is not finite: nothing to resume from.
        """
        for name, weight in self._trained.named_parameters():
            if not torch.isfinite(weight).all():
                raise TrainError(f"{name}: this weight of the model is not finite; {HINTS}")
        tensors = {f"{part}/{key}": each for part, model in self._models() for key, each in model.state_dict().items()}
        for part, model in self._models() if self._ranks.world > 1 else ():
            statistics = {name: each for name, each in model.named_buffers() if each.is_floating_point()}
            tensors |= {f"{part}-of-each/{name}": self._ranks.whole(each[None]) for name, each in statistics.items()}
        kept = dict(self._kept_by_optimiser())
        plain = {name: each for name, each in kept.items() if not isinstance(each, Tensor)}
        tensors |= {"taught": self.taught} | {name: each for name, each in kept.items() if name not in plain}
        here = {name: each.detach().cpu().contiguous() for name, each in tensors.items()}
        return here, {"steps": self._steps, "scaler": self._scaler.state_dict(), "optimiser": plain}

    @torch.no_grad()
    def resume(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Restore a `state`.

        Running statistics, which differ from process to process on CPUs, are each one's own again, or, of another
        number of processes, their mean.
        """
        for part, model in self._models():
            model.load_state_dict({name: tensors[f"{part}/{name}"] for name in model.state_dict()})
            for name, buffer in model.named_buffers():
                if (of_each := tensors.get(f"{part}-of-each/{name}")) is not None:
                    is_own = len(of_each) == self._ranks.world
                    buffer.copy_(of_each[self._ranks.rank] if is_own else of_each.mean(dim=0))
        kept = {**tensors, **numbers["optimiser"]}
        for number, weight in enumerate(self._weights()):
            begins = f"optimiser/{number}/"
            names = [name.removeprefix(begins) for name in kept if name.startswith(begins)]
            self.optimiser.state[weight] = {name: _laid_out(kept[begins + name], weight) for name in names}
        for number, group in enumerate(self.optimiser.param_groups):
            if (step := kept.get(f"group/{number}")) is not None:
                group["step"] = _laid_out(step, group["params"][0])
        self._steps = numbers["steps"]
        self.taught.copy_(tensors["taught"])
        if numbers["scaler"] and self._scaler.is_enabled():
            self._scaler.load_state_dict(dict(numbers["scaler"]))

    def _kept_by_optimiser(self) -> Iterator[tuple[str, Any]]:
        """Tensors and numbers that it keeps of each weight and, as Adan and LAMB do, of each group."""
        for number, weight in enumerate(self._weights()):
            for name, each in self.optimiser.state.get(weight, {}).items():
                yield f"optimiser/{number}/{name}", each
        for number, group in enumerate(self.optimiser.param_groups):
            if "step" in group:
                yield f"group/{number}", group["step"]

    def _models(self) -> Iterator[tuple[str, nn.Module]]:
        yield "model", self._trained
        if self._ema:
            yield "ema", self._ema.model

    def _weights(self) -> Iterator[Tensor]:
        """The parameters of the optimiser, in its order."""
        return (weight for group in self.optimiser.param_groups for weight in group["params"])

    def step(self, *group: Batch) -> Tensor:
        """Take one optimiser step along the mean gradient of a group of batches, each clip with the same weight.

        Returns
        -------
        Their mean loss, a scalar that is still on the device; of several processes the loss of all.
        """
        loss = self.learn(*group)
        self.follow()
        return loss

    def follow(self) -> None:
        """Count a step, and let the running mean follow it."""
        self._steps += 1
        if self._ema:
            self._ema.update(self._steps)

    def learn(self, *group: Batch) -> Tensor:
        """The part of `step` that only launches kernels, the same in each step, so that a CUDA graph can hold it."""
        if self._scaler.is_enabled():
            self._scaler._per_optimizer_states.clear()  # what a recording left that failed
        self.optimiser.zero_grad(set_to_none=True)
        clips, total = sum(len(batch.clips) for batch in group), torch.zeros((), device=self._device)
        for number, batch in enumerate(group, start=1):
            with self._exchange(last=number == len(group)):
                loss = self._loss_of(batch) * (len(batch.clips) / clips)
                # DistributedDataParallel divides by the number of processes, but their losses add up
                self._scaler.scale(loss * self._ranks.world).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        if self._recipe.optimiser.clip_norm:
            self._scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self._trained.parameters(), self._recipe.optimiser.clip_norm)
        self._scaler.step(self.optimiser)
        self._scaler.update()
        return total

    def _loss_of(self, batch: Batch) -> Tensor:
        """Loss of a batch; with several processes of the whole batch, so that no mean, mask or rank is of a share."""
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype is not None):
            logits: Logits = self._network(batch.clips.contiguous(memory_format=self._layout))
        distance = [distances(logits, batch, self._teacher)[:, None]] if self._teacher else []
        if self._ranks.world == 1:
            return self._with_teacher(self._loss(logits, batch), distance)
        frame_max = [] if logits.frame_max is None else [logits.frame_max]
        columns = [logits.clip, batch.targets, batch.weights, batch.importance[:, None], *distance, *frame_max]
        rows_BX = self._ranks.whole(torch.cat([column.float() for column in columns], dim=1))
        widths = [column.shape[1] for column in columns]
        clip, targets, weights, importance, *others = torch.split(rows_BX, widths, dim=1)
        whole = replace(batch, targets=targets, weights=weights, importance=importance[:, 0])
        loss = self._loss(Logits(clip, *others[len(distance) :]), whole)
        return self._with_teacher(loss, others[: len(distance)])

    def _with_teacher(self, loss: Tensor, distance: Sequence[Tensor]) -> Tensor:
        """The loss and the mean distance from what the teacher says, if there is one, which is added up as well."""
        for each in distance:
            self.taught += each.detach().nan_to_num(0, 0, 0).sum()
        return sum((each.mean() for each in distance), loss)

    def _exchange(self, last: bool) -> AbstractContextManager[None]:
        """Average gradients over the processes only where a group ends."""
        if last or not isinstance(self._network, DistributedDataParallel):
            return nullcontext()
        return self._network.no_sync()


def _laid_out(state: Any, weight: Tensor) -> Any:
    """An optimiser's state of a weight in the weight's own memory layout; fused kernels ignore strides."""
    if not isinstance(state, Tensor):
        return state
    return torch.empty_like(weight).copy_(state) if state.shape == weight.shape else state.to(weight.device)

"""The state of a training run: how to train, what happened so far, what is done in a step and after an epoch.

Nothing here knows Lightning. What an epoch does depends on the seed, the epoch's number and the weights it starts from,
and on nothing else: the order of the batches and the random numbers of dropout are drawn anew for each. So a run that
was killed goes on from its last whole epoch to the same bytes as one that was not.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inputlayer.checkpoint import Checkpoint, restore_optimiser
from inputlayer.errors import OptionError, listed, nearest

_SCHEDULES: dict[str, Callable[[float], float]] = {
    # share of the run that is done -> share of the learning rate
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * min(done, 1.0))),
    "constant": lambda done: 1.0,
}
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
_LOOK_EVERY = 64  # steps between two looks at the losses


@dataclass(frozen=True)
class TrainingOptions:
    """How to train. All wrong values are named in one `OptionError`.

    epochs    passes over the training part at most; 0 draws the weights and trains nothing
    batch     sequences per step
    lr        learning rate of Adam at the first step
    weight_decay  share of the learning rate by which every weight shrinks at each step, apart from its gradient
              (Loshchilov and Hutter 2019, "Decoupled weight decay regularization"); 0: none
    patience  epochs without a lower validation loss after which to stop; None: never stop early
    clip      largest norm of the gradient over all weights; None: no clipping
    schedule  "cosine": the rate falls along half a cosine, step by step, to 0 after the last of `epochs`; "constant"
    seed      of the weights, the order of the batches and dropout
    device    "auto" (an accelerator, if there is one), "cpu", "cuda", "cuda:1", "mps"

    >>> TrainingOptions(epochs=5).lr
    0.001
    >>> TrainingOptions(epochs=-1, lr=0.0)
    Traceback (most recent call last):
    ...
    inputlayer.errors.OptionError: training options: epochs is -1, must be a whole number, 0 or more; lr is 0.0, must \
be a number above 0
    """

    epochs: int = 50
    batch: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.0
    patience: int | None = 10
    clip: float | None = 1.0
    schedule: str = "cosine"
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        demands = {
            "epochs": (_whole(self.epochs, 0), "a whole number, 0 or more"),
            "batch": (_whole(self.batch, 1), "a whole number, 1 or more"),
            "lr": (_positive(self.lr), "a number above 0"),
            "weight_decay": (_positive(self.weight_decay, or_zero=True), "a number, 0 or more"),
            "patience": (self.patience is None or _whole(self.patience, 1), "a whole number, 1 or more, or None"),
            "clip": (self.clip is None or _positive(self.clip), "a number above 0, or None"),
            "schedule": (self.schedule in _SCHEDULES, f"one of {listed(_SCHEDULES)}{_guess(self.schedule)}"),
            "seed": (_whole(self.seed, 0) and self.seed < 2**63, "a whole number from 0 to 2**63 - 1"),
            "device": (
                isinstance(self.device, str) and _DEVICE.fullmatch(self.device) is not None,
                "'auto', 'cpu', 'cuda', 'cuda:<number>' or 'mps'",
            ),
        }
        wrong = [
            f"{name} is {getattr(self, name)!r}, must be {text}" for name, (fine, text) in demands.items() if not fine
        ]
        if wrong:
            raise OptionError("training options: " + "; ".join(wrong))


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _positive(value: object, or_zero: bool = False) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value < math.inf or (or_zero and value == 0)


def _guess(value: object) -> str:
    return "." + nearest(value, _SCHEDULES) if isinstance(value, str) and nearest(value, _SCHEDULES) else ""


@dataclass
class History:
    """What happened in each epoch; epochs count from 0.

    train_loss   mean loss of the training part while it was trained on, dropout included
    valid_loss   mean loss of the validation part after the epoch, rows weighted as in training; None: no such part
    lr           learning rate at the epoch's first step
    seconds      wall-clock time, validation included
    best_epoch   the epoch whose weights were kept: lowest validation loss, or the last epoch; None before the first
    interrupted  whether the run was ended by Ctrl-C

    >>> history = History()
    >>> history.add(train_loss=0.5, valid_loss=0.4, lr=1e-3, seconds=1.0)
    >>> history.add(train_loss=0.3, valid_loss=0.6, lr=5e-4, seconds=1.0)
    >>> print(history)
    epoch  train loss  valid loss       lr  seconds
        0         0.5         0.4    0.001      1.0  best
        1         0.3         0.6   0.0005      1.0
    """

    train_loss: list[float] = field(default_factory=list)
    valid_loss: list[float | None] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    interrupted: bool = False

    @property
    def epochs(self) -> int:
        """Number of whole epochs."""
        return len(self.train_loss)

    @property
    def stale(self) -> int:
        """Epochs since the best one."""
        return 0 if self.best_epoch is None else self.epochs - 1 - self.best_epoch

    def add(self, *, train_loss: float, valid_loss: float | None, lr: float, seconds: float) -> None:
        """Note one more epoch; it is the best so far if its validation loss is lowest, or where there is none."""
        best = None if self.best_epoch is None else self.valid_loss[self.best_epoch]
        if valid_loss is None or best is None or valid_loss < best:
            self.best_epoch = self.epochs
        self.train_loss.append(train_loss)
        self.valid_loss.append(valid_loss)
        self.lr.append(lr)
        self.seconds.append(seconds)

    def to_dict(self) -> dict[str, Any]:
        """All fields and `epochs`, as JSON values."""
        return {"epochs": self.epochs, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The way back of `to_dict`."""
        return cls(**{name: value for name, value in values.items() if name != "epochs"})

    def __str__(self) -> str:
        lines = ["epoch  train loss  valid loss       lr  seconds"]
        for i, (train, valid, lr, seconds) in enumerate(
            zip(self.train_loss, self.valid_loss, self.lr, self.seconds, strict=True)
        ):
            shown = "-" if valid is None else f"{valid:.5g}"
            best = "  best" if i == self.best_epoch else ""
            lines.append(f"{i:5}  {train:10.5g}  {shown:>10}  {lr:7.3g}  {seconds:7.1f}{best}")
        return "\n".join([*lines, "interrupted"] if self.interrupted else lines)


def mix(seed: int, epoch: int) -> int:
    """One 64-bit number from two, so that near seeds and near epochs share nothing (SplitMix64, Steele et al. 2014).

    >>> mix(0, 1) != mix(1, 0)
    True
    """
    z = (seed * 0xD1342543DE82EF95 + (epoch + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


class Interrupted(Exception):
    """Ctrl-C was pressed; raised between two steps, so that no step is done by half."""


class NotFinite(Exception):
    """A loss is infinite or no number; the text says which and where, and `step` which batch of the epoch it was."""

    def __init__(self, text: str, step: int, *, validating: bool) -> None:
        super().__init__(text)
        self.step, self.validating = step, validating


class _Mean:
    """The mean of an epoch's losses, each batch weighted by its real target steps.

    The numbers are looked at only now and then: each look waits for the device, and costs as much as a small layer.
    """

    def __init__(self, place: str, *, validating: bool = False) -> None:
        self._place, self._validating = place, validating
        self._losses: list[Tensor] = []
        self._weights: list[Tensor] = []
        self._seen, self._sum, self._weight = 0, 0.0, 0.0

    def add(self, loss: Tensor, batch: Any) -> None:
        real = batch.real if batch.weight is None else batch.real * batch.weight[:, None, None]
        self._losses.append(loss.detach())
        self._weights.append(real.sum())
        if len(self._losses) == _LOOK_EVERY:
            self._look()

    def value(self) -> float:
        if self._losses:
            self._look()
        return self._sum / self._weight if self._weight else 0.0

    def _look(self) -> None:
        pairs = zip(torch.stack(self._losses).tolist(), torch.stack(self._weights).tolist(), strict=True)
        for step, (loss, weight) in enumerate(pairs, self._seen):
            if not math.isfinite(loss):
                text = f"the loss became {loss} in {self._place}, step {step}"
                raise NotFinite(text, step, validating=self._validating)
            self._sum += loss * weight
            self._weight += weight
        self._seen += len(self._losses)
        self._losses.clear()
        self._weights.clear()


class Run:
    """One run: `step` for each batch, `end_epoch` after each epoch.

    history  of the whole epochs; best: the weights of the best of them, those at the start before the first
    stop_asked  set by Ctrl-C: the next step raises `Interrupted` instead
    """

    def __init__(
        self,
        network: nn.Module,
        options: TrainingOptions,
        write: Callable[[Run], None],
    ) -> None:
        self.network = network
        self.options = options
        self.history = History()
        self.best = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        self.optimiser_state: Mapping[str, Mapping[str, Tensor]] = {}
        self.stop_asked = False
        self._write = write
        self._weights = [weight for weight in network.parameters() if weight.requires_grad]
        self._batches = 1

    @property
    def finished(self) -> bool:
        patience = self.options.patience
        validated = self.history.epochs > 0 and self.history.valid_loss[-1] is not None
        stale = validated and patience is not None and self.history.stale >= patience
        return stale or self.history.epochs >= self.options.epochs

    def resume(self, checkpoint: Checkpoint) -> None:
        self.history = History.from_dict(checkpoint.history)
        self.network.load_state_dict(checkpoint.weights)
        self.best = dict(checkpoint.best)
        self.optimiser_state = checkpoint.optimiser

    def make_optimiser(self) -> Optimizer:
        options = self.options
        decay = options.weight_decay  # without it, AdamW is Adam
        self.optimiser = torch.optim.AdamW(self._weights, lr=options.lr, weight_decay=decay, fused=True)
        restore_optimiser(self.optimiser, self.network, self.optimiser_state)
        return self.optimiser

    def start_epoch(self, batches: int) -> None:
        epoch = self.history.epochs
        torch.manual_seed(mix(self.options.seed, epoch))
        self._batches = batches
        self._started = time.perf_counter()
        self._train = _Mean(f"epoch {epoch}")
        self._valid: _Mean | None = None

    def start_validation(self) -> None:
        self._valid = _Mean(f"the validation after epoch {self.history.epochs}", validating=True)

    def rate(self, index: int) -> float:
        done = (self.history.epochs + index / self._batches) / max(self.options.epochs, 1)
        return self.options.lr * _SCHEDULES[self.options.schedule](done)

    def step(self, batch: Any, index: int, backward: Callable[[Tensor], None], update: Callable[[], Any]) -> Tensor:
        self.yield_to_interrupt()
        self.optimiser.param_groups[0]["lr"] = self.rate(index)
        loss: Tensor = self.network.loss(self.network(batch), batch)  # type: ignore[operator]
        for weight in self._weights:
            weight.grad = None
        backward(loss)
        if self.options.clip is not None:
            nn.utils.clip_grad_norm_(self._weights, self.options.clip)
        update()
        self._train.add(loss, batch)
        return loss.detach()

    def validate(self, batch: Any) -> None:
        self.yield_to_interrupt()
        if self._valid is not None:
            self._valid.add(self.network.loss(self.network(batch), batch), batch)  # type: ignore[operator]

    def yield_to_interrupt(self) -> None:
        if self.stop_asked:
            raise Interrupted

    def save(self) -> None:
        self._write(self)

    def end_epoch(self) -> dict[str, float]:
        train_loss = self._train.value()
        valid_loss = None if self._valid is None else self._valid.value()
        lr, seconds = self.rate(0), time.perf_counter() - self._started
        self.history.add(train_loss=train_loss, valid_loss=valid_loss, lr=lr, seconds=seconds)
        if self.history.stale == 0:
            for name, tensor in self.network.state_dict().items():
                self.best[name] = self.best[name].to(tensor.device).copy_(tensor)
        self.save()
        metrics = {"train_loss": train_loss, "lr": lr}
        return metrics if valid_loss is None else {**metrics, "valid_loss": valid_loss}

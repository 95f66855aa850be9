"""Training on Lightning, so that its callbacks, loggers and devices can be used, and without what it does unasked."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from inputlayer.checkpoint import Checkpoint, circumstances, optimiser_state
from inputlayer.errors import InputLayerError, OptionError, listed
from inputlayer.progress import progress
from inputlayer.run import History, Interrupted, NotFinite, Run, TrainingOptions

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.loggers import Logger
    from torch.optim import Optimizer

_TOGETHER = 8  # batches handed to Lightning at a time
_STEP_HOOKS = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)

__all__ = ["Batches", "History", "TrainingOptions", "train"]


class Batches(Protocol):
    """What is trained on: sized, iterated once per epoch, in an order that depends on the epoch's number only."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...
    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""


class _Feed:
    """Batches as Lightning wants them, `together` at a time. It asks for a new iterator once per epoch."""

    def __init__(self, batches: Batches, set_epoch: Callable[[], None], together: int) -> None:
        self._batches, self._set_epoch, self._together = batches, set_epoch, together

    def __len__(self) -> int:
        return -(-len(self._batches) // self._together)

    def __iter__(self) -> Iterator[Iterable[Any]]:
        self._set_epoch()
        batches = iter(self._batches)
        for _ in range(len(self)):
            # Several are assembled one by one as the steps ask for them: Lightning holds two groups at a time.
            group = islice(batches, self._together)
            yield group if self._together > 1 else list(group)


def train(
    network: nn.Module,
    train_batches: Batches,
    valid_batches: Batches | None,
    options: TrainingOptions,
    *,
    callbacks: Iterable[Callback] = (),
    logger: Logger | Sequence[Logger] | None = None,
    run: Path | None = None,
    resume: bool = False,
    fingerprint: str = "",
) -> History:
    """Train `network` in place; it ends on the device it came on, in eval mode.

    With `valid_batches` the weights of the lowest validation loss are kept, also after Ctrl-C; without, those of the
    last step. AdamW, clipped gradients, a rate that falls with every step. The metrics ``train_loss``, ``valid_loss``
    and ``lr`` are logged once per epoch.

    Parameters
    ----------
    network : ``network(batch) -> y`` and ``network.loss(y, batch) -> scalar``
    callbacks, logger : Lightning's, passed on
    run : folder for ``checkpoint.safetensors``, written before the first epoch and after each
    resume : go on from the checkpoint in `run`, if there is one, to the same bytes as a run without a break
    fingerprint : stands for the data and the fitted half; a checkpoint with another one is refused

    Raises
    ------
    OptionError : `resume` without `run`, or a device that this machine does not have
    InputLayerError : the loss is no finite number; the network then holds the best weights of the whole epochs before,
        or those it started with. Or: the checkpoint was made under other circumstances
    ArtefactError : the checkpoint is damaged
    """
    device = _device(options.device)
    if resume and run is None:
        raise OptionError("resume=True needs run=..., the folder that holds the checkpoint")
    if options.epochs and not len(train_batches):
        raise InputLayerError("there is no batch to train on")
    around = circumstances(asdict(options), fingerprint, device, len(train_batches))
    state = Run(network, options, lambda state: _save(state, around, run))
    found = Checkpoint.load(run) if run is not None and resume else None
    if found is not None:
        found.check(around, network)
        state.resume(found)
    if not state.finished:
        home = next((weight.device for weight in network.parameters()), torch.device("cpu"))
        try:
            _fit(state, train_batches, valid_batches, device, list(callbacks), logger)
        finally:
            network.to(home)
    _keep_best(state)
    return state.history


def _keep_best(state: Run) -> None:
    if state.history.epochs and not (state.history.interrupted and state.history.valid_loss[-1] is None):
        state.network.load_state_dict(state.best)
    state.network.eval()


def _save(state: Run, around: Mapping[str, Any], run: Path | None) -> None:
    if run is not None:
        optimiser = optimiser_state(state.optimiser, state.network)
        weights = state.network.state_dict()
        Checkpoint(around, state.history.to_dict(), weights, state.best, optimiser).save(run)


def _device(name: str) -> torch.device:
    """The device meant by `name`, or `OptionError` with those that there are."""
    cuda, mps = torch.cuda.device_count(), torch.backends.mps.is_available()
    there = [*(f"cuda:{i}" for i in range(cuda)), *(["mps"] if mps else []), "cpu"]
    wanted = there[0] if name == "auto" else "cuda:0" if name == "cuda" else name
    if wanted not in there:
        raise OptionError(f"device {name!r} is not on this machine, which has {listed(there)}")
    return torch.device(wanted)


def _fit(
    state: Run,
    train_batches: Batches,
    valid_batches: Batches | None,
    device: torch.device,
    callbacks: list[Callback],
    logger: Logger | Sequence[Logger] | None,
) -> None:
    # What Lightning does around a step costs as much as a small layer. Where nobody watches the single steps, it is
    # handed several batches at a time; the steps are the same.
    together = 1 if logger or _watch_steps(callbacks) else _TOGETHER
    train_feed = _Feed(train_batches, lambda: train_batches.set_epoch(state.history.epochs), together)
    valid_feed = None if valid_batches is None else _Feed(valid_batches, lambda: None, together)
    with ExitStack() as stack:
        stack.enter_context(_silence())
        devices = [device] if device.type == "cuda" else []
        stack.enter_context(torch.random.fork_rng(devices=devices))
        stack.enter_context(_interrupts(state))
        total = (state.options.epochs - state.history.epochs) * len(train_batches)
        advance = stack.enter_context(progress("Training", total))
        try:
            trainer = _trainer(state, device, callbacks, logger, len(train_batches))
            trainer.fit(_module(state, advance, together), train_feed, valid_feed)
        except Interrupted:
            state.history.interrupted = True
        except SystemExit as error:
            # Lightning turns a KeyboardInterrupt, here from elsewhere than a signal, into an exit.
            if not isinstance(error.__context__, KeyboardInterrupt):
                raise
            state.history.interrupted = True
        except NotFinite as error:
            raise _no_finite_loss(state, error, valid_batches if error.validating else train_batches) from None


def _watch_steps(callbacks: list[Callback]) -> bool:
    """Whether a callback has something to do at single steps."""
    from lightning.pytorch import Callback

    return any(getattr(type(c), hook) is not getattr(Callback, hook) for c in callbacks for hook in _STEP_HOOKS)


def _no_finite_loss(state: Run, error: NotFinite, batches: Batches | None) -> InputLayerError:
    state.network.load_state_dict(state.best)
    best = state.history.best_epoch
    kept = "it started with" if best is None else f"after epoch {best}"
    fault = "" if batches is None else _fault_of_body(state, error, batches)
    state.network.load_state_dict(state.best)  # the look may have changed what is counted, such as running means
    if fault:
        return InputLayerError(
            f"{error} (epochs and steps count from 0). {fault}. It does so with the weights {kept} too, so no lr mends"
            " it: look in its forward for a division by 0, a logarithm or a root of what may be 0 or below, or an"
            " overflow."
        )
    clip = "clip=1.0" if state.options.clip is None else f"a clip below {state.options.clip}"
    return InputLayerError(
        f"{error} (epochs and steps count from 0). The network's weights are those {kept}. Try an lr below"
        f" {state.options.lr}, or {clip}; look for extreme values in the table with show, and scale or clip them."
    )


def _fault_of_body(state: Run, error: NotFinite, batches: Batches) -> str:
    """Whether it is the body that makes numbers that are not finite: from finite ones, and with the weights kept."""
    network = state.network
    body = getattr(network, "body", None)
    if not isinstance(body, nn.Module):
        return ""
    told: list[str] = []

    def look(module: nn.Module, given: tuple[Any, ...], y: Any) -> None:
        broken = 0 if not isinstance(y, Tensor) else int((~y.isfinite()).sum())
        if broken and all(bool(g.isfinite().all()) for g in given if isinstance(g, Tensor)):
            low, high = given[0].min().item(), given[0].max().item()
            told.append(
                f"It is the body: {type(module).__name__} returned {broken:,} numbers that are not finite, of"
                f" {y.numel():,} in shape {tuple(y.shape)}, for x of shape {tuple(given[0].shape)} from {low:.3g} to"
                f" {high:.3g}"
            )

    if not error.validating:
        batches.set_epoch(state.history.epochs)
    was = network.training
    network.train(not error.validating)
    device = next((weight.device for weight in network.parameters()), torch.device("cpu"))
    batch = next(islice(iter(batches), error.step, None))
    hook = body.register_forward_hook(look)
    try:
        with torch.no_grad():
            network(batch.to(device))
    finally:
        hook.remove()
        network.train(was)
    return "".join(told)


def _trainer(state: Run, device: torch.device, callbacks: list[Callback], logger: Any, batches: int) -> Trainer:
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint

    trainer = Trainer(
        accelerator=device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        max_epochs=state.options.epochs,
        logger=logger or False,
        callbacks=[_epochs(state, batches), *callbacks],
        plugins=[LightningEnvironment()],  # one process, also inside a cluster's job
        enable_checkpointing=any(isinstance(callback, LightningCheckpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    # So that callbacks and loggers go on counting where the interrupted run was.
    trainer.fit_loop.epoch_progress.current.processed = state.history.epochs  # type: ignore[attr-defined]
    return trainer


def _epochs(state: Run, batches: int) -> Callback:
    """The first of the callbacks, so that the others find the epoch's metrics."""
    from lightning.pytorch import Callback

    class Epochs(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            if not state.history.epochs:
                state.save()

        def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            state.start_epoch(batches)

        def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            state.start_validation()

        def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            pl_module.log_dict(state.end_epoch())
            trainer.should_stop = trainer.should_stop or state.finished

    return Epochs()


def _module(state: Run, advance: Callable[[int], None], together: int) -> LightningModule:
    from lightning.pytorch import LightningModule

    class Task(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = state.network
            # The step is ours: the automatic one costs a closure, a copy of each loss and several hooks more.
            self.automatic_optimization = False

        def __setattr__(self, name: str, value: Any) -> None:
            # Lightning notes the name of each hook here, thirty times a step; nn.Module's own way is slow.
            if name == "_current_fx_name":
                self.__dict__[name] = value
            else:
                super().__setattr__(name, value)

        def configure_optimizers(self) -> Optimizer:
            return state.make_optimiser()

        def transfer_batch_to_device(self, group: Any, device: torch.device, dataloader_idx: int) -> Any:
            if device.type == "cpu":
                return group
            moved = (batch.to(device) for batch in group)
            return moved if together > 1 else list(moved)

        def training_step(self, group: Any, group_idx: int) -> Tensor:
            backward, update = Tensor.backward, state.optimiser.step
            if together == 1:  # then callbacks on gradients and on the optimiser's step are called too
                backward, update = self.manual_backward, self.optimizers().step  # type: ignore[assignment, union-attr]
            for i, batch in enumerate(group, group_idx * together):
                loss = state.step(batch, i, backward, update)
                advance(1)
            return loss

        def validation_step(self, group: Any, group_idx: int) -> None:
            for batch in group:
                state.validate(batch)

    return Task()


@contextmanager
def _interrupts(state: Run) -> Iterator[None]:
    """Ctrl-C ends the run after the current step; pressed a second time, at once.

    Lightning would leave the program. Where Ctrl-C is ignored already, or in another thread, nothing is changed.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in (signal.SIG_IGN, None):
        yield
        return

    def ask(number: int, frame: object) -> None:
        if state.stop_asked:
            raise KeyboardInterrupt
        state.stop_asked = True

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep Lightning from telling what it found, tips, and advice on loaders and logging that are not the user's."""
    import lightning.pytorch  # noqa: F401  (it sets the levels of its loggers when it is imported)

    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)

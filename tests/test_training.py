"""Training: what is kept, what is resumed, what stops it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from inputlayer import store
from inputlayer.checkpoint import FILE
from inputlayer.errors import InputLayerError, OptionError
from inputlayer.training import History, TrainingOptions, train

torch.set_num_threads(1)
OPTIONS = TrainingOptions(epochs=4, lr=0.01)


@dataclass
class FakeBatch:
    x: Tensor
    target: Tensor
    lengths: Tensor
    real: Tensor
    weight: Tensor | None = None

    def to(self, device: torch.device) -> FakeBatch:
        moved = (t.to(device) for t in (self.x, self.target, self.lengths, self.real))
        return FakeBatch(*moved)


class FakeBatches:
    """Five batches of noise whose order depends on the epoch; `spoil` makes one of them not a number."""

    def __init__(self, count: int = 5, seed: int = 0, spoil: int | None = None) -> None:
        rng = np.random.default_rng(seed)
        self.x = torch.tensor(rng.normal(size=(count, 8, 6, 3)), dtype=torch.float32)
        self.epoch = 0
        self.epochs: list[int] = []
        if spoil is not None:
            self.x[spoil] = torch.nan

    def __len__(self) -> int:
        return len(self.x)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.epochs.append(epoch)

    def __iter__(self) -> Iterator[FakeBatch]:
        for i in np.random.default_rng(self.epoch).permutation(len(self.x)):
            x = self.x[i]
            lengths, real = torch.full((8,), 6), torch.ones(8, 1, 1, dtype=torch.bool)
            yield FakeBatch(x, x[:, -1:, :1] * 0.5, lengths, real)


class FakeNetwork(nn.Module):
    """With dropout, so that random numbers matter, and a buffer."""

    def __init__(self, seed: int = 0, units: int = 4) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.lstm = nn.LSTM(3, units, num_layers=2, dropout=0.5, batch_first=True)
        self.norm = nn.BatchNorm1d(units)
        self.out = nn.Linear(units, 1)

    def forward(self, batch: FakeBatch) -> Tensor:
        states, _ = self.lstm(batch.x)
        return self.out(self.norm(states[:, -1]))[:, None]

    def loss(self, y: Tensor, batch: FakeBatch) -> Tensor:
        return nn.functional.mse_loss(y, batch.target)


def state(network: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in network.state_dict().items()}


def losses(history: History) -> tuple[Any, ...]:
    """All of a history but the seconds."""
    return history.train_loss, history.valid_loss, history.lr, history.best_epoch, history.interrupted


class Counting:
    """Stands for a user's callback; made here, since Lightning takes seconds to import."""

    @staticmethod
    def make(at_step: Any = None, at_epoch: Any = None) -> Any:
        from lightning.pytorch import Callback

        class Count(Callback):
            steps, epochs, metrics, seen = 0, 0, {}, []

            def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):  # type: ignore[no-untyped-def]
                self.steps += 1
                if at_step is not None:
                    at_step(self.steps)

            def on_train_epoch_end(self, trainer, pl_module):  # type: ignore[no-untyped-def]
                self.epochs += 1
                self.metrics = dict(trainer.callback_metrics)
                self.seen = [*self.seen, trainer.current_epoch]
                if at_epoch is not None:
                    at_epoch(self.epochs)

        return Count()


def test_wrong_options_are_named_together() -> None:
    with pytest.raises(
        OptionError, match=r"batch is 0.*lr is nan.*schedule is 'cosin'.*Did you mean 'cosine'.*device is"
    ):
        TrainingOptions(batch=0, lr=float("nan"), schedule="cosin", device="gpu!")
    with pytest.raises(OptionError, match="epochs is True"):
        TrainingOptions(epochs=True)
    with pytest.raises(OptionError, match=r"weight_decay is -0.1, must be a number, 0 or more"):
        TrainingOptions(weight_decay=-0.1)


def test_learns_and_says_nothing(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    level = logging.getLogger("lightning.pytorch").level
    random_before = torch.get_rng_state()
    network, batches = FakeNetwork(), FakeBatches()
    random_before = torch.get_rng_state()
    history = train(network, batches, FakeBatches(2, seed=1), replace(OPTIONS, epochs=20))
    assert history.epochs == len(history.lr) == 20
    assert history.train_loss[-1] < 0.8 * history.train_loss[0]
    assert batches.epochs[-1] == 19
    assert sorted(set(batches.epochs)) == list(range(20))
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(torch.get_rng_state(), random_before)
    assert not network.training
    assert level in (logging.NOTSET, logging.getLogger("lightning.pytorch").level)


def test_cosine_falls_to_nothing_and_constant_stays() -> None:
    assert train(FakeNetwork(), FakeBatches(), None, OPTIONS).lr == pytest.approx(
        [0.01, 0.00853553, 0.005, 0.00146447], rel=1e-5
    )
    assert train(FakeNetwork(), FakeBatches(), None, replace(OPTIONS, schedule="constant")).lr == [0.01] * 4


def test_weight_decay_shrinks_every_weight_by_its_share_of_the_rate() -> None:
    ended = {}
    for decay in (0.0, 0.5):
        network = FakeNetwork()
        start = {name: weight.detach().clone() for name, weight in network.named_parameters()}
        train(network, FakeBatches(1), None, replace(OPTIONS, epochs=1, schedule="constant", weight_decay=decay))
        ended[decay] = dict(network.named_parameters())
    for name, weight in start.items():
        torch.testing.assert_close(ended[0.5][name], ended[0.0][name] - 0.01 * 0.5 * weight)


def test_same_seed_same_bytes_another_seed_others() -> None:
    nets = [FakeNetwork() for _ in range(3)]
    for network, seed in zip(nets, (0, 0, 1), strict=True):
        torch.rand(seed + 3)
        train(network, FakeBatches(), None, replace(OPTIONS, seed=seed))
    assert state(nets[0]) == state(nets[1]) != state(nets[2])


def test_loss_of_an_epoch_is_weighted_by_real_target_steps() -> None:
    class Uneven(FakeBatches):
        def __iter__(self) -> Iterator[FakeBatch]:
            for size, value in ((6, 1.0), (2, 3.0)):
                x = torch.zeros(8, 6, 3)
                real = (torch.arange(8) < size)[:, None, None]
                yield FakeBatch(x, torch.full((8, 1, 1), value), torch.full((8,), 6), real)

    class Given(FakeNetwork):
        def loss(self, y: Tensor, batch: FakeBatch) -> Tensor:
            return batch.target.mean() + 0 * y.sum()

    history = train(Given(), FakeBatches(), Uneven(2), replace(OPTIONS, epochs=1))
    assert history.valid_loss == [pytest.approx((6 * 1 + 2 * 3) / 8)]


def test_early_stopping_restores_the_best_weights() -> None:
    class Scripted(FakeNetwork):
        epoch = -1

        def loss(self, y: Tensor, batch: FakeBatch) -> Tensor:
            real = super().loss(y, batch)
            return real if self.training else 0 * real + [3.0, 1.0, 2.0, 2.5, 0.1][self.epoch]

    network = Scripted()
    kept: dict[int, dict[str, bytes]] = {}

    class Batches(FakeBatches):
        def set_epoch(self, epoch: int) -> None:
            super().set_epoch(epoch)
            network.epoch = epoch
            kept[epoch - 1] = state(network)

    history = train(network, Batches(), FakeBatches(1), replace(OPTIONS, epochs=9, patience=2))
    assert (history.epochs, history.best_epoch, history.valid_loss) == (4, 1, [3.0, 1.0, 2.0, 2.5])
    assert state(network) == kept[1] != kept[2]


def test_no_epochs_change_nothing() -> None:
    network = FakeNetwork()
    before = state(network)
    assert train(network, FakeBatches(), None, replace(OPTIONS, epochs=0)).epochs == 0
    assert state(network) == before


@pytest.mark.parametrize("where", ["train", "valid"])
def test_a_loss_that_is_no_number_is_named_and_the_weights_stay_finite(where: str) -> None:
    network = FakeNetwork()
    before = state(network)
    train_batches = FakeBatches(spoil=2 if where == "train" else None)
    valid_batches = FakeBatches(spoil=2 if where == "valid" else None)
    place = "epoch 0, step [0-4] " if where == "train" else "the validation after epoch 0, step [0-4] "
    with pytest.raises(InputLayerError, match=rf"loss became nan in {place}.*those it started with.*lr below 0.01"):
        train(network, train_batches, valid_batches, OPTIONS)
    assert state(network) == before


def test_callbacks_and_loggers_are_passed_on(tmp_path: Path) -> None:
    from lightning.pytorch.loggers import CSVLogger

    count, logger = Counting.make(), CSVLogger(tmp_path)
    train(FakeNetwork(), FakeBatches(), FakeBatches(1), OPTIONS, callbacks=[count], logger=logger)
    assert (count.steps, count.epochs, count.seen) == (20, 4, [0, 1, 2, 3])
    assert set(count.metrics) == {"train_loss", "valid_loss", "lr"}
    logger.save()
    lines = next(tmp_path.rglob("metrics.csv")).read_text().splitlines()
    assert len(lines) == 5
    assert lines[0].split(",") == ["epoch", "lr", "step", "train_loss", "valid_loss"]
    assert [line.split(",")[2] for line in lines[1:]] == ["4", "9", "14", "19"]


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C is heard, also where the tests were started by a shell that ignores it for its background jobs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("how", ["signal", "error"])
def test_ctrl_c_returns_with_the_best_weights_and_a_checkpoint(how: str, tmp_path: Path) -> None:
    def press(step: int) -> None:
        if step == 12 and how == "error":
            raise KeyboardInterrupt
        if step == 12:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    network, short = FakeNetwork(), FakeNetwork()
    valid = FakeBatches(1)
    history = train(network, FakeBatches(), valid, OPTIONS, callbacks=[Counting.make(press)], run=tmp_path)
    assert history.interrupted
    assert history.epochs == 2
    assert signal.getsignal(signal.SIGINT) is handler
    assert history.best_epoch is not None
    _, tensors = store.read(tmp_path / FILE)
    assert {k: v.tobytes() for k, v in tensors.items() if k.startswith("best/")} == {
        f"best/{k}": v for k, v in state(network).items()
    }
    resumed = train(FakeNetwork(9), FakeBatches(), valid, OPTIONS, run=tmp_path, resume=True)
    assert losses(resumed) == losses(train(short, FakeBatches(), valid, OPTIONS))


@pytest.mark.usefixtures("heard")
def test_interrupted_in_the_first_epoch_keeps_what_was_learnt(tmp_path: Path) -> None:
    network = FakeNetwork()
    before = state(network)
    count = Counting.make(lambda step: os.kill(os.getpid(), signal.SIGINT))
    history = train(network, FakeBatches(), FakeBatches(1), OPTIONS, callbacks=[count], run=tmp_path)
    assert history.interrupted
    assert history.epochs == 0
    assert count.steps == 1
    assert state(network) != before
    resumed, whole = FakeNetwork(9), FakeNetwork()
    train(resumed, FakeBatches(), FakeBatches(1), OPTIONS, run=tmp_path, resume=True)
    train(whole, FakeBatches(), FakeBatches(1), OPTIONS)
    assert state(resumed) == state(whole)


def test_trains_in_another_thread() -> None:
    found: list[History] = []
    thread = threading.Thread(target=lambda: found.append(train(FakeNetwork(), FakeBatches(), None, OPTIONS)))
    thread.start()
    thread.join()
    assert found[0].epochs == 4


def _resumable(folder: Path, slowly: bool) -> None:
    """What the killed process runs: prints each step, so that the test knows where it is."""
    from inputlayer.training import train

    def tell(step: int) -> None:
        print(step, flush=True)
        time.sleep(0.02)

    callbacks = [Counting.make(tell)] if slowly else []
    train(FakeNetwork(), FakeBatches(), FakeBatches(2), OPTIONS, callbacks=callbacks, run=folder, resume=True)


def test_killed_and_resumed_gives_the_bytes_of_an_uninterrupted_run(tmp_path: Path) -> None:
    whole = FakeNetwork()
    expected = train(whole, FakeBatches(), FakeBatches(2), OPTIONS, run=tmp_path / "whole")
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_training, pathlib; "
    code += f"test_training._resumable(pathlib.Path({str(tmp_path / 'killed')!r}), True)"
    for steps in (7, 6):  # in the second epoch, and, six steps after it was begun again, in the third
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            try:
                for _ in range(steps):
                    assert child.stdout.readline()
            finally:
                child.kill()
        assert child.returncode == -signal.SIGKILL
    header, _ = store.read(tmp_path / "killed" / FILE)
    assert header["history"]["epochs"] == 2
    network = FakeNetwork(seed=5)
    history = train(network, FakeBatches(), FakeBatches(2), OPTIONS, run=tmp_path / "killed", resume=True)
    assert losses(history) == losses(expected)
    assert state(network) == state(whole)
    tensors = [store.read(tmp_path / name / FILE)[1] for name in ("whole", "killed")]
    assert {k: v.tobytes() for k, v in tensors[0].items()} == {k: v.tobytes() for k, v in tensors[1].items()}


def test_resuming_a_finished_run_trains_no_more(tmp_path: Path) -> None:
    first, again = FakeNetwork(), FakeNetwork(1)
    done = train(first, FakeBatches(), FakeBatches(2), OPTIONS, run=tmp_path, resume=True)
    batches = FakeBatches()
    assert train(again, batches, FakeBatches(2), OPTIONS, run=tmp_path, resume=True) == done
    assert state(again) == state(first)
    assert batches.epochs == []


def test_resume_is_refused_where_something_differs(tmp_path: Path) -> None:
    train(FakeNetwork(), FakeBatches(), None, OPTIONS, run=tmp_path, fingerprint="a")
    network = FakeNetwork(units=5)
    before = state(network)
    differs = (
        r"the training rows, or what is done to them, are not the same; lr was 0.01, is 0.5; "
        r"threads was 1, is 2; training batches was 5, is 6; weight"
    )
    torch.set_num_threads(2)
    try:
        with pytest.raises(InputLayerError, match=differs):
            train(network, FakeBatches(6), None, replace(OPTIONS, lr=0.5), run=tmp_path, resume=True, fingerprint="b")
    finally:
        torch.set_num_threads(1)
    assert state(network) == before
    with pytest.raises(OptionError, match="resume=True needs run="):
        train(network, FakeBatches(), None, OPTIONS, resume=True)


def test_a_device_that_is_not_there_is_an_error() -> None:
    with pytest.raises(OptionError, match=r"device 'cuda:77' is not on this machine, which has .*'cpu'"):
        train(FakeNetwork(), FakeBatches(), None, replace(OPTIONS, device="cuda:77"))


def test_history_as_text_and_dict() -> None:
    history = train(FakeNetwork(), FakeBatches(), None, replace(OPTIONS, epochs=1))
    assert History.from_dict(history.to_dict()) == history
    assert str(history).splitlines()[1].split()[2] == "-"

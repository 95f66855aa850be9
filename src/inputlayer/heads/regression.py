"""Regression: numbers, or quantiles of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from inputlayer.columns.base import choose
from inputlayer.errors import OptionError
from inputlayer.heads.base import Head, complete, weighted_mean

Loss = Literal["mse", "mae", "huber", "quantile"]


class Regression(Head):
    """One number per target and step, or its quantiles.

    Parameters
    ----------
    loss
        ``"mse"``; ``"mae"``; ``"huber"``, squared up to an error of 1 standardised unit and linear beyond; or
        ``"quantile"``, the pinball loss, averaged over the quantiles.
    quantiles
        For ``loss="quantile"`` only: ascending, within (0, 1), 0.5 among them, which is the forecast itself.

    Raises
    ------
    OptionError
        If quantiles are missing, given with another loss, or not as above.

    Notes
    -----
    The loss is taken in scaled units, after the stages' way back.

    Shape: h (B, n, width) -> (B, n, K targets, quantiles or 1).

    References
    ----------
    Koenker and Bassett 1978, "Regression quantiles" (the pinball loss).

    Examples
    --------
    >>> Regression("quantile", quantiles=[0.1, 0.5, 0.9]).per_target
    3
    """

    kind: ClassVar[str] = "regression"
    levels: Tensor

    def __init__(self, loss: Loss = "mse", quantiles: Sequence[float] | None = None) -> None:
        super().__init__()
        choose("loss", loss, get_args(Loss))
        self.loss_name, self.quantiles = loss, None if quantiles is None else tuple(quantiles)
        _check(loss, self.quantiles)
        self.register_buffer("levels", torch.tensor(self.quantiles or (), dtype=torch.float32), persistent=False)

    @property
    def per_target(self) -> int:
        return len(self.quantiles or (0.5,))

    def options(self) -> dict[str, Any]:
        return {"loss": self.loss_name, "quantiles": None if self.quantiles is None else list(self.quantiles)}

    def loss(self, y: Tensor, target: Tensor, real: Tensor, weight: Tensor | None = None) -> Tensor:
        if weight is None and complete(real):
            return self._cost(y, target[..., None].expand_as(y)).mean()
        target = torch.where(real, target, 0.0)[..., None].expand_as(y)  # NaN * 0 is NaN, in the gradient too
        return weighted_mean(self._cost(y, target).mean(-1), real, weight)

    def _cost(self, y: Tensor, target: Tensor) -> Tensor:
        if self.loss_name == "mse":
            return F.mse_loss(y, target, reduction="none")
        if self.loss_name == "mae":
            return F.l1_loss(y, target, reduction="none")
        if self.loss_name == "huber":
            return F.huber_loss(y, target, reduction="none")
        short = target - y
        return torch.maximum(self.levels * short, (self.levels - 1) * short)

    @classmethod
    def examples(cls) -> list[Self]:
        return [cls("mse"), cls("mae"), cls("huber"), cls("quantile", quantiles=(0.1, 0.5, 0.9))]


def _check(loss: str, quantiles: tuple[float, ...] | None) -> None:
    if loss != "quantile":
        if quantiles is not None:
            raise OptionError(f"quantiles have no effect with loss={loss!r}. Write loss='quantile', or leave them out.")
        return
    if quantiles is None:
        raise OptionError("loss='quantile' needs quantiles, such as quantiles=[0.1, 0.5, 0.9]")
    if not all(0 < q < 1 for q in quantiles):
        raise OptionError(f"quantiles={list(quantiles)}: each must lie above 0 and below 1")
    if list(quantiles) != sorted(set(quantiles)):
        raise OptionError(f"quantiles={list(quantiles)} must ascend, each given once")
    if 0.5 not in quantiles:
        raise OptionError(f"quantiles={list(quantiles)} must hold 0.5, which is the forecast itself")

"""Two bodies of one's own behind an input layer: a small Transformer, and one linear layer.

A body makes its weights in `build`, once the sizes are known: `plan.width` numbers a step, `plan.length` steps,
`plan.horizon` steps to predict, `outputs` numbers for each. So the same body can stand behind any input layer, and
`il.compare` can say how much of the error the input layer explains and how much the body.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import inputlayer as il
from inputlayer.bodies import Body
from inputlayer.bodies.base import real_steps
from inputlayer.stages import Plan


class Linear(Body):
    """One linear layer from all numbers of the look-back, and all that is known ahead, to all steps of the horizon."""

    direct = True  # the head adds no projection

    def build(self, plan: Plan, outputs: int) -> None:
        self.width, self.horizon = outputs, plan.horizon
        assert plan.length is not None, "sequences of one length: il.Windows without pad_short"
        self.leave = nn.Linear(plan.length * plan.width + plan.horizon * len(plan.future), plan.horizon * outputs)

    def forward(self, x: Tensor, lengths: Tensor, future: Tensor, key: Tensor | None = None) -> Tensor:
        y: Tensor = self.leave(torch.cat([x.flatten(1), future.flatten(1)], 1))
        return y.view(len(x), self.horizon, self.width)


class Transformer(Body):
    """Two blocks of self-attention; the state of the last step, and all that is known ahead, give the horizon."""

    direct = True

    def __init__(self, size: int = 32) -> None:
        super().__init__()
        self.size = size

    def build(self, plan: Plan, outputs: int) -> None:
        self.width, self.horizon = outputs, plan.horizon
        self.enter = nn.Linear(plan.width, self.size)
        block = nn.TransformerEncoderLayer(self.size, 2, 2 * self.size, dropout=0.0, batch_first=True)
        self.blocks = nn.TransformerEncoder(block, num_layers=2, enable_nested_tensor=False)
        self.leave = nn.Linear(self.size + plan.horizon * len(plan.future), plan.horizon * outputs)

    def forward(self, x: Tensor, lengths: Tensor, future: Tensor, key: Tensor | None = None) -> Tensor:
        steps = torch.arange(x.shape[1], device=x.device)
        place = torch.sin(steps[:, None] / 1000 ** (torch.arange(self.size, device=x.device) / self.size))
        padded = ~real_steps(lengths, x.shape[1])
        h = self.blocks(self.enter(x) + place, src_key_padding_mask=padded if padded.any() else None)
        last = h[torch.arange(len(h)), lengths - 1]
        y: Tensor = self.leave(torch.cat([last, future.flatten(1)], 1))
        return y.view(len(x), self.horizon, self.width)


def main() -> None:
    """Three bodies behind the same input layer, on a wave with noise."""
    draw = torch.Generator().manual_seed(0)
    hours = torch.arange(1200)
    wave = torch.sin(hours / 24 * 2 * torch.pi) + hours / 600 + 0.3 * torch.randn(1200, generator=draw)
    table = {"hour": hours.tolist(), "load": wave.tolist()}
    schema = il.Schema({"load": il.Number()}, il.Windows("hour", length=48, horizon=24), target="load")
    train, valid, test = il.split(table, schema)
    for body in (il.LSTM(64), Transformer(), Linear()):
        model = il.Model(il.InputLayer(schema, [il.InstanceNorm("last"), il.Patch(6)]), body)
        model.fit(train, valid, epochs=10)
        print(type(body).__name__, model.evaluate(test, context=valid), sep="\n", end="\n\n")


if __name__ == "__main__":
    main()

"""Steps of one way of private training beside plain SGD, in one process on one thread; prints milliseconds and MB.

Usage: ``python _clipping_step.py NETWORK WAY TURNS``. WAY: plain, ours, ours_rows, opacus, opacus_registered or vmap.
With 0 turns only that way runs, three steps, and its peak memory is told; else each turn times a plain step and then
one of WAY. Time is that of the process's own processor, so another process costs little.
"""

import json
import resource
import sys
from collections.abc import Callable

import torch
from _processor import processor_seconds
from torch import Tensor, nn
from torch.nn import functional

CLIP, RATE = 1.0, 0.01


class SmallCnn(nn.Module):
    """28×28 grey pictures, 220 thousand weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 32, 3, padding=1)
        self.second = nn.Conv2d(32, 64, 3, padding=1)
        self.hidden = nn.Linear(64 * 7 * 7, 64)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.first(x)), 2)
        x = functional.max_pool2d(functional.relu(self.second(x)), 2)
        return self.head(functional.relu(self.hidden(x.flatten(1))))


class Block(nn.Module):
    """Inverted residual with group norms."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [nn.Conv2d(inputs, hidden, 1, bias=False), norm(hidden), nn.ReLU6()]
        layers += [nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False), norm(hidden), nn.ReLU6()]
        layers += [nn.Conv2d(hidden, outputs, 1, bias=False), norm(outputs)]
        self.body = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


class MobileLike(nn.Module):
    """MobileNetV2's blocks for 32×32 pictures, 1.06 million weights."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, 2, 1, bias=False), norm(32), nn.ReLU6()]
        channels = 32
        for expansion, outputs, repeats, stride in (
            (1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 2, 2), (6, 64, 3, 2), (6, 96, 3, 1), (6, 160, 2, 2)
        ):  # fmt: skip
            for number in range(repeats):
                layers.append(Block(channels, outputs, stride if number == 0 else 1, expansion))
                channels = outputs
        layers += [nn.Conv2d(channels, 640, 1, bias=False), norm(640), nn.ReLU6()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(640, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


def norm(channels: int) -> nn.Module:
    return nn.GroupNorm(8 if channels % 8 == 0 else 4, channels)


NETWORKS: dict[str, tuple[type[nn.Module], tuple[int, ...], int]] = {
    "cnn": (SmallCnn, (1, 28, 28), 64),
    "mobile": (MobileLike, (3, 32, 32), 32),
}


def steps(way: str, model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """A function that makes one step: gradients, clipping, sum, noise where private, update."""
    parameters = list(model.parameters())

    def update(gradients: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                noise = torch.randn_like(gradient) if way != "plain" else 0
                parameter.add_((gradient + noise) / len(y), alpha=-RATE)

    if way == "plain":
        optimizer = torch.optim.SGD(parameters, RATE)

        def plain() -> None:
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()

        return plain
    if way in {"ours", "ours_rows"}:
        from skerry.device.training.dp.clipping import ClippingEngine

        engine = ClippingEngine(model)
        sizes = [p.numel() for p in parameters]

        def summed() -> Tensor:
            if way == "ours":
                return engine.clipped_sum(x, y, clip=CLIP).total
            return sum(row[0] * (CLIP / row.norm()).clamp(max=1) for row in engine.rows(x, y))

        def ours() -> None:
            update([part.view_as(p) for part, p in zip(summed().split(sizes), parameters, strict=True)])

        return ours
    if way == "vmap":
        from torch.func import functional_call, grad, vmap

        names = [name for name, _ in model.named_parameters()]

        def loss(weights: dict[str, Tensor], a: Tensor, b: Tensor) -> Tensor:
            return functional.cross_entropy(functional_call(model, weights, (a[None],)), b[None])

        each = vmap(grad(loss), in_dims=(None, 0, 0))

        def vmapped() -> None:
            rows = each({n: p.detach() for n, p in model.named_parameters()}, x, y)
            norms = torch.stack([rows[n].flatten(1).norm(dim=1) for n in names]).norm(dim=0)
            factors = (CLIP / norms).clamp(max=1)
            update([torch.einsum("n,n...->...", factors, rows[n]) for n in names])

        return vmapped
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    if way == "opacus_registered":
        from skerry.device.training.dp.opacus import register

        register()
    wrapped = GradSampleModule(model)
    private = DPOptimizer(
        torch.optim.SGD(parameters, RATE), noise_multiplier=1.0, max_grad_norm=CLIP, expected_batch_size=len(y)
    )

    def opacus() -> None:
        private.zero_grad()
        functional.cross_entropy(wrapped(x), y).backward()
        private.step()

    return opacus


def main() -> None:
    network, way, turns = sys.argv[1], sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(1)
    made, shape, batch = NETWORKS[network]
    torch.manual_seed(0)
    x, y = torch.randn(batch, *shape), torch.randint(0, 10, (batch,))
    model = made()
    ready = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    step = steps(way, model, x, y)
    for _ in range(3):
        step()
    document = {"added_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - ready}
    if turns:
        torch.manual_seed(0)
        plain = steps("plain", made(), x, y)
        plain()
        pairs = [(processor_seconds(plain), processor_seconds(step)) for _ in range(turns)]
        document |= {"plain_ms": [1e3 * a for a, _ in pairs], "ms": [1e3 * b for _, b in pairs]}
    print(json.dumps(document))


if __name__ == "__main__":
    main()

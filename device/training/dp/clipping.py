"""Per-example clipping by book-keeping: one forward, one backward that makes no weight gradient, one sum.

1. *forward*: each layer with trainable parameters notes its input and output;
2. *backward*: gradients of the noted outputs only, which autograd needs anyway to get from layer to layer;
3. *parts*: as soon as a layer's is there, its rule makes what gives its parameters' per-example norms
   (:mod:`~skerry.device.training.dp.rules`), and the gradient is let go;
4. *factors*: min(1, C/‖gᵢ‖), or per layer;
5. *sum*: Σ factorᵢ·gᵢ from what the parts hold: no second backward.

(Bu et al., "Differentially private optimization on large model at small cost", arXiv:2210.00038, with the rules above.)
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from skerry.device.models.folding import keeps_statistics
from skerry.device.training.dp.rules import Kept, Part, Rule, rule_for
from skerry.device.training.flat import cross_entropies
from skerry.errors import InputError
from skerry.records import ParameterLayout

__all__ = ["ClippedSum", "ClippingEngine"]

Loss = Callable[[Tensor, Tensor], Tensor]

# Examples at a time where the caller does not say: more at once are slower unless they are small. Measured on two
# networks: memory goes out of the caches, and back to the system and anew from it in every step.
_QUICK = 16
_QUICK_BYTES = 16 << 20
_TOLERANCE = 1e-3  # of the self-check, in float32; float64 agrees to 1e-9


@dataclass(frozen=True)
class ClippedSum:
    """What a batch's clipped gradients add up to; private until noise is added.

    Attributes:
        total: ``(d,)``, laid out as :attr:`ClippingEngine.layout`.
        norms: ``(n,)`` of the gradients before clipping; with per-layer clipping over all layers together.
        left_out: examples whose gradient is not finite: they weigh nothing.
    """

    total: Tensor
    norms: Tensor
    left_out: int


@dataclass(frozen=True)
class _Call:
    """One run of a layer: what went in, and what came out in which version."""

    name: str
    layer: nn.Module
    rule: Rule
    source: Tensor
    first: bool
    result: Tensor
    version: int


class ClippingEngine:
    """Clipped gradient sums of a model's trainable parameters.

    Guarantee: adding or removing one example changes :attr:`ClippedSum.total` by at most ``clip`` in L2 norm in exact
    arithmetic. In floating point the sum, the norms and, through kernels that choose their order of summation by the
    size of a batch, the *other* examples' gradients move in their last bits; none of this is counted. Where the
    guarantee has to hold to the last bit, take :meth:`rows` with ``micro_batch=1`` and round them onto a
    :class:`~skerry.device.training.dp.Grid`.

    Assumptions: no layer mixes examples (batch norms are refused; a ``forward`` that does it by itself is not
    noticed); the loss of an example depends on its own output only.

    Every parameter must be used by its own layer's ``forward`` and nowhere else. The first batch is checked against
    autograd, and a model for which the sums differ is refused. Where a refusal would tell of private examples, call
    :meth:`check` on public ones first.

    Args:
        model: in the mode in which it trains; parameters with ``requires_grad`` are trained.
        loss: ``(outputs, y)`` to ``(n,)`` losses.
        rules: rules beside the shipped ones, by class of layer.

    Raises:
        InputError: a trainable layer has no rule; names it.
    """

    def __init__(
        self, model: nn.Module, *, loss: Loss = cross_entropies, rules: Mapping[type[nn.Module], Rule] | None = None
    ) -> None:
        self._model = model
        self._loss = loss
        self._layers: dict[str, tuple[nn.Module, Rule]] = {}
        for name, module in model.named_modules():
            if any(p.requires_grad for p in module.parameters(recurse=False)):
                try:
                    self._layers[name] = (module, rule_for(module, rules))
                except InputError as error:
                    error.where = name or type(model).__name__
                    raise
            elif keeps_statistics(module) and module.training:
                raise InputError(
                    f"{type(module).__name__} in training mode mixes the examples of a batch",
                    where=name,
                    mend="fold it into its convolution, or call eval() on it",
                )
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._names = {id(p): name for name, p in self._parameters.items()}
        if not self._parameters:
            raise InputError("nothing of this model is trainable")
        self.layout = ParameterLayout(tuple((name, tuple(p.shape)) for name, p in self._parameters.items()))
        self._checked = False
        self._bytes = _QUICK_BYTES  # of one example's activations, until a batch has told

    def clipped_sum(
        self,
        x: Tensor,
        y: Tensor,
        *,
        clip: float,
        clipping: Literal["flat", "per_layer"] = "flat",
        micro_batch: int | None = None,
    ) -> ClippedSum:
        """Σ clip(gᵢ) over a batch.

        Args:
            x: ``(n, …)`` inputs; n may be 0.
            y: ``(n, …)`` targets.
            clip: C, the bound on one example's L2 norm.
            clipping: ``flat``: over all parameters at once; ``per_layer``: each of L layers to C/√L, so that the
                whole stays within C.
            micro_batch: examples at a time; None for as many as are quickest. See :meth:`micro_batch_for`.

        Raises:
            InputError: ``clip`` is not positive; the model modifies a layer's output in place, or uses a parameter
                outside of its layer's ``forward``.
        """
        if not (clip > 0 and math.isfinite(clip)):
            raise InputError(f"a clip bound is a positive number, got {clip}")
        total = next(iter(self._parameters.values())).new_zeros(self.layout.size)
        views = self._views(total)
        norms, left_out = [x.new_zeros(0)], 0
        for parts in self._batches(x, y, micro_batch):
            squared = {name: part.squared_norms() for name, part in parts.items()}
            whole = torch.stack(list(squared.values())).sum(0)
            norms.append(whole.sqrt())
            finite = torch.isfinite(whole)
            if not bool(finite.all()):
                left_out += int(len(finite) - finite.count_nonzero())
                parts = {n: Kept(p.parameter, torch.where(finite[:, None], p.rows(), 0)) for n, p in parts.items()}  # noqa: PLW2901 - 0·inf is NaN
                squared = {name: torch.where(finite, values, 0) for name, values in squared.items()}
            factors = self._factors(squared, norms[-1], clip, clipping)
            for name, part in parts.items():
                part.add_weighted_sum(views[name], factors[name])
        return ClippedSum(total, torch.cat(norms), left_out)

    def rows(self, x: Tensor, y: Tensor, *, micro_batch: int = 1) -> Iterator[Tensor]:
        """Gradients ``(m, d)``, unclipped, of ``micro_batch`` examples at a time.

        With ``micro_batch=1`` a row depends on its own example and the weights alone, to the last bit.
        """
        for parts in self._batches(x, y, micro_batch):
            yield torch.cat([parts[name].rows() for name in self._parameters], dim=1)

    def parts(self, x: Tensor, y: Tensor) -> dict[str, Part]:
        """Per-example gradients by parameter, in whatever form is cheapest to hold, of a whole batch at once."""
        return self._parts(x, y)

    def check(self, x: Tensor, y: Tensor) -> None:
        """Compare with autograd now, on these examples, and not on the first batch.

        Raises:
            InputError: the sums differ; names a parameter that is used outside of its layer's ``forward``.
        """
        self._checked = False
        self._parts(x, y)
        self._checked = True

    def micro_batch_for(self, x: Tensor, y: Tensor, budget: int, *, rows: bool = False) -> int:
        """How many examples fit at a time into ``budget`` bytes of activations and kept gradients; at least 1.

        Args:
            x: ``(n, …)``; the first example is run.
            y: ``(n, …)``.
            budget: bytes beside the model's own.
            rows: whether gradients are wanted themselves, and not their sum alone.
        """
        parts = self._parts(x[:1], y[:1])
        # One copy where rows are wanted besides: rules and their callers hold another for a while.
        kept = sum((1 + rows) * part.rows().nbytes for part in parts.values() if rows or isinstance(part, Kept))
        return max(1, int(budget // max(1, self._bytes + kept)))

    def _batches(self, x: Tensor, y: Tensor, size: int | None) -> Iterator[dict[str, Part]]:
        if size is not None and size < 1:
            raise InputError(f"a micro-batch holds at least one example, got {size}")
        first = 0
        while (left := len(x) - first) > 0:
            most = size or max(_QUICK, _QUICK_BYTES // self._bytes)
            batch = slice(first, first + (size or math.ceil(left / math.ceil(left / most))))  # even parts
            yield self._parts(x[batch], y[batch])
            first = batch.stop

    def _forward(self, x: Tensor) -> tuple[Tensor, list[_Call]]:
        calls: list[_Call] = []

        def noting(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
            def note(layer: nn.Module, sources: tuple[Tensor, ...], result: Tensor) -> None:
                first = not sources[0].requires_grad  # no trained layer is upstream of this one
                calls.append(_Call(name, layer, rule, sources[0].detach(), first, result, result._version))  # noqa: SLF001 - autograd's own counter of changes in place

            rule = self._layers[name][1]
            return note

        hooks = [layer.register_forward_hook(noting(name)) for name, (layer, _) in self._layers.items()]
        try:
            with torch.enable_grad():
                return self._model(x.detach()), calls
        finally:
            for hook in hooks:
                hook.remove()

    def _parts(self, x: Tensor, y: Tensor) -> dict[str, Part]:
        outputs, calls = self._forward(x)
        self._refuse_unused(calls)
        with torch.enable_grad():
            loss = self._loss(outputs, y).sum()
        self._refuse_changed(calls)
        # An input, and an output, its gradient, and what an activation keeps.
        self._bytes = max(1, sum(c.source.nbytes + 3 * c.result.nbytes for c in calls) // len(x))
        parts: dict[str, Part] = {}
        firsts = [call.result for call in calls if call.first]
        waiting = [self._on_gradient(call, parts) for call in calls]
        check = not self._checked
        del outputs, calls
        # Going down to the first layers passes all others. Each layer's gradient is used where it appears, and let go:
        # held until the end they would be as much again as the activations.
        torch.autograd.grad(loss, firsts, allow_unused=True, retain_graph=check)
        for use in waiting:
            use(None)
        if check:
            self._compare(loss, parts)
        return parts

    def _on_gradient(self, call: _Call, parts: dict[str, Part]) -> Callable[[Tensor | None], None]:
        """Adds a run's parts to ``parts`` when its output's gradient is there; None stands for zero."""
        pending = [call]
        shape = call.result.shape

        @torch.no_grad()
        def use(gradient: Tensor | None) -> None:
            if not pending:
                return
            done = pending.pop()  # its input may be freed
            g = done.source.new_zeros(shape) if gradient is None else gradient.detach()
            for part in done.rule(done.layer, done.source, g):
                name = self._names[id(part.parameter)]
                # A layer that ran twice, or a shared parameter: its gradient is a sum, so norms do not add.
                parts[name] = Kept(part.parameter, parts[name].rows() + part.rows()) if name in parts else part

        call.result.register_hook(use)  # type: ignore[no-untyped-call]
        return use

    def _refuse_unused(self, calls: list[_Call]) -> None:
        called = {call.name for call in calls}
        for name, (layer, _) in self._layers.items():
            if name not in called:
                parameter = next(key for key, p in layer.named_parameters(name, recurse=False) if p.requires_grad)
                raise InputError(
                    "a trainable parameter is not used through its layer's forward",
                    where=parameter,
                    mend="call the layer itself, give a rule for the module that owns the parameter, or freeze it",
                )

    @staticmethod
    def _refuse_changed(calls: list[_Call]) -> None:
        for call in calls:
            if call.result._version != call.version:  # noqa: SLF001 - autograd's own counter of changes in place
                raise InputError(
                    "the output of this layer is modified in place", where=call.name, mend="use inplace=False after it"
                )

    def _compare(self, loss: Tensor, parts: Mapping[str, Part]) -> None:
        """The self-check: unclipped, the sums are autograd's gradients."""
        expected = torch.autograd.grad(loss, list(self._parameters.values()), allow_unused=True)
        for (name, parameter), gradient in zip(self._parameters.items(), expected, strict=True):
            ours = parts[name].weighted_sum(parameter.new_ones(len(parts[name].squared_norms())))
            theirs = torch.zeros_like(parameter) if gradient is None else gradient
            if not bool(torch.isfinite(theirs).all()):
                return  # nothing to compare yet: the next batch is checked
            scale = max(float(theirs.abs().max()), 1e-3)
            if float((ours - theirs).abs().max()) > _TOLERANCE * scale:
                raise InputError(
                    "the clipped gradients of this parameter would not be its gradients: it is used elsewhere too",
                    where=name,
                    mend="use each parameter in its own layer's forward only",
                )
        self._checked = True

    def _factors(
        self, squared: Mapping[str, Tensor], norms: Tensor, clip: float, clipping: Literal["flat", "per_layer"]
    ) -> dict[str, Tensor]:
        if clipping == "flat":
            factors = (
                (clip / norms).nan_to_num_(1).clamp_(max=1)
            )  # not finite: is zero by now. 1/0 is infinite, and then 1
            return dict.fromkeys(squared, factors)
        layers: dict[str, Tensor] = {}
        for name, values in squared.items():
            owner = name.rpartition(".")[0]
            layers[owner] = layers[owner] + values if owner in layers else values
        bound = clip / math.sqrt(len(layers))
        each = {owner: (bound / values.sqrt()).clamp_(max=1) for owner, values in layers.items()}
        return {name: each[name.rpartition(".")[0]] for name in squared}

    def _views(self, total: Tensor) -> dict[str, Tensor]:
        parts = torch.split(total, [p.numel() for p in self._parameters.values()])
        return {name: part.view(p.shape) for (name, p), part in zip(self._parameters.items(), parts, strict=True)}

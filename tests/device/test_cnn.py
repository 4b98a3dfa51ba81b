"""The small network is torch's plain one, in every way that it is computed: numpy, and compiled for each processor."""

import os
import shutil
import sys
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from skerry.device.models.cnn import KERNEL, Cnn, _Pool
from tests.device._plain_cnn import filled

CONVOLUTIONS = 16 * 9 + 16 + 32 * 16 * 9 + 32  # weights
VERSIONS = ("plain", "avx2", "avx512")  # of the compiled passes, the widest last


def choose(version: str) -> bool:
    """Whether this processor has that version of the compiled passes, which is then taken."""
    if KERNEL is None:
        return False
    try:
        KERNEL.choose(version)
    except LookupError:
        return False
    return True


@pytest.fixture(params=[*VERSIONS, "numpy"])
def network(request: pytest.FixtureRequest) -> Iterator[Cnn]:
    if request.param == "numpy":
        yield Cnn(10, None)
        return
    if not choose(request.param):
        pytest.skip("no compiler at installation, or another processor")
    yield Cnn(10, KERNEL)
    for version in VERSIONS:
        choose(version)


def weights(seed: int) -> np.ndarray:
    return Cnn(10).initial(np.random.default_rng(seed))


def pictures(count: int, kind: str = "noise") -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(count, 1, 28, 28)).astype(np.float32)
    if kind == "flat":  # every window is a tie
        x = np.full_like(x, 0.5)
    if kind == "whole numbers":
        x = np.rint(x)
    return x, generator.integers(0, 10, count)


def test_where_continuous_integration_has_a_compiler_the_kernel_is_built() -> None:
    if "CI" in os.environ and shutil.which("cc"):
        assert KERNEL is not None, "skerry was installed where there is a C compiler, without device/models/_cnn"


def test_scores_are_those_of_the_plain_network(network: Cnn) -> None:
    vector, (x, _) = weights(5), pictures(47)
    expected = filled(vector)(torch.from_numpy(x)).detach().numpy()
    assert np.abs(network.logits(vector, x) - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("count", [1, 3, 10, 47])
@pytest.mark.parametrize("kind", ["noise", "flat", "whole numbers"])
def test_every_gradient_is_that_of_the_plain_network(network: Cnn, kind: str, count: int) -> None:
    vector, (x, y) = weights(2), pictures(count, kind)
    if kind == "whole numbers":  # sums of the convolutions are exact, and many windows have equal ones
        vector[:CONVOLUTIONS] = np.rint(vector[:CONVOLUTIONS] * 12)
    plain = filled(vector)
    functional.cross_entropy(plain(torch.from_numpy(x)), torch.from_numpy(y)).backward()
    gradient = np.full_like(vector, np.nan)
    network.gradient(vector, x, y, gradient)
    for (name, ours), theirs in zip(network.layout.split(gradient).items(), plain.parameters(), strict=True):
        largest = float(theirs.grad.abs().max())
        assert largest > 1e-4, name
        assert np.abs(ours - theirs.grad.numpy()).max() < 1e-4 * largest, name


def test_scores_whose_exponentials_are_too_large_for_a_number_have_a_gradient(network: Cnn) -> None:
    vector, (x, y) = weights(2), pictures(20)
    vector[-10:] = np.arange(0, 1000, 100)
    plain = filled(vector)
    functional.cross_entropy(plain(torch.from_numpy(x)), torch.from_numpy(y)).backward()
    gradient = np.full_like(vector, np.nan)
    network.gradient(vector, x, y, gradient)
    expected = nn.utils.parameters_to_vector([one.grad for one in plain.parameters()]).numpy()
    assert np.abs(gradient - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_shows_in_the_scores_as_it_does_in_torch(network: Cnn, bad: float) -> None:
    vector, (x, _) = weights(3), pictures(28 * 28)
    x.reshape(28 * 28, 28 * 28)[np.eye(28 * 28, dtype=bool)] = bad  # in each picture another pixel
    expected = filled(vector)(torch.from_numpy(x)).detach().numpy()
    with np.errstate(all="ignore"):
        found = network.logits(vector, x)
    finite = np.isfinite(expected).all(axis=1)
    assert (~finite).sum() > 500
    assert finite.sum() > 100  # the last two rows and columns reach no score
    assert np.array_equal(np.isfinite(found).all(axis=1), finite)


def test_weights_that_are_no_numbers_give_a_gradient_that_is_none(network: Cnn) -> None:
    vector, (x, y) = weights(3), pictures(4)
    vector[-1] = np.nan
    gradient = np.zeros_like(vector)
    with np.errstate(all="ignore"):
        network.gradient(vector, x, y, gradient)
    assert np.isnan(gradient[-10:]).all()


def test_of_equal_values_in_a_window_the_same_one_gets_the_gradient_as_in_torch() -> None:
    generator = np.random.default_rng(0)
    picture = generator.integers(0, 3, (5, 4, 8, 8)).astype(np.float32)  # many ties
    upstream, bias = generator.normal(size=(5, 4, 4, 4)).astype(np.float32), np.full(4, -0.5, np.float32)
    theirs = torch.from_numpy(picture).requires_grad_()
    out = functional.relu(functional.max_pool2d(theirs, 2) - 0.5)
    out.backward(torch.from_numpy(upstream))

    pool, by_bias = _Pool(5, 4, 4), np.empty(4, np.float32)
    pool.planes[...] = picture.reshape(5, 4, 4, 2, 4, 2).transpose(3, 5, 0, 2, 4, 1)
    assert np.array_equal(pool.forward(bias).transpose(0, 3, 1, 2), out.detach().numpy())
    planes = pool.backward(np.ascontiguousarray(upstream.transpose(0, 2, 3, 1)), by_bias)
    assert np.array_equal(planes.transpose(2, 5, 3, 0, 4, 1).reshape(picture.shape), theirs.grad.numpy())
    assert by_bias == pytest.approx(planes.sum((0, 1, 2, 3, 4)), rel=1e-4)


def test_a_batch_size_is_as_good_before_as_after_others(network: Cnn) -> None:
    vector, (x, y) = weights(2), pictures(9)
    first, again, other = (np.empty_like(vector) for _ in range(3))
    network.gradient(vector, x, y, first)
    for n in (1, 2, 3, 4, 5, 6):
        network.gradient(weights(n), x[:n], y[:n], other)
    network.gradient(vector, x, y, again)
    assert np.array_equal(first, again)


def test_threads_that_share_a_network_do_not_mix_their_pictures(network: Cnn) -> None:
    x, y = pictures(40)

    def gradient(seed: int) -> np.ndarray:
        out = np.empty(network.layout.size, np.float32)
        network.gradient(weights(seed), x[seed:], y[seed:], out)
        return out

    alone = [gradient(seed) for seed in range(12)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(gradient, range(12)))
    assert all(np.array_equal(one, two) for one, two in zip(alone, together, strict=True))


@pytest.mark.parametrize("label", [-1, 10])
def test_a_label_of_no_class_is_refused(network: Cnn, label: int) -> None:
    x, y = pictures(3)
    y[1] = label
    with pytest.raises(IndexError):
        network.gradient(weights(0), x, y, np.empty(network.layout.size, np.float32))


def test_weights_and_pictures_may_lie_anywhere_and_are_not_changed(network: Cnn) -> None:
    vector, (x, y) = weights(4), pictures(4)
    expected, found = (np.empty_like(vector) for _ in range(2))
    network.gradient(vector, x, y, expected)
    askew = np.zeros(vector.nbytes + 1, np.uint8)[1:].view(np.float32)  # as out of a message
    askew[...] = vector
    askew.flags.writeable = False
    apart = np.repeat(x, 2, -1)[..., ::2]
    apart.flags.writeable = False
    network.gradient(askew, apart, y.astype(np.int32), found)
    assert np.abs(found - expected).max() < 1e-6 * np.abs(expected).max()
    assert np.abs(network.logits(askew, apart) - network.logits(vector, x)).max() < 1e-6
    assert np.array_equal(askew, vector)


@pytest.mark.skipif(KERNEL is None, reason="no compiler at installation")
@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("axis", range(4))
def test_compiled_passes_take_pictures_of_no_other_shape(axis: int, by: int) -> None:
    shape = [2, 1, 28, 28]
    shape[axis] += by
    x, scores, gradient = np.zeros(shape, np.float32), np.zeros((2, 10), np.float32), np.zeros_like(weights(0))
    with pytest.raises(ValueError, match="pictures"):
        KERNEL.scores(weights(0), x, scores)
    with pytest.raises(ValueError, match="pictures"):
        KERNEL.gradient(weights(0), x, np.zeros(2, np.int64), gradient)
    assert not scores.any()
    assert not gradient.any()


@pytest.mark.skipif(KERNEL is None, reason="no compiler at installation")
def test_of_a_larger_batch_a_compiled_step_needs_room_for_its_labels_alone() -> None:
    def most(count: int) -> int:
        x, y = np.zeros((count, 1, 28, 28), np.float32), np.zeros(count, np.int64)
        tracemalloc.start()
        KERNEL.gradient(vector, x, y, out)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    vector = Cnn(1000).initial(np.random.default_rng(0))
    out = np.empty_like(vector)
    few, many = most(16), most(100)
    assert few > 16 * 1000 * 4, "memory of the passes is not traced"
    assert many - few < 100 * 8 + 4096


def test_no_pictures_have_no_scores(network: Cnn) -> None:
    assert network.logits(weights(0), np.empty((0, 1, 28, 28), np.float32)).shape == (0, 10)


@pytest.mark.skipif(KERNEL is None, reason="no compiler at installation")
def test_scores_of_no_picture_for_very_many_classes_are_refused() -> None:
    sizes, before = 2 * (sys.maxsize + 1), Cnn(1).layout.size - 121
    inverse = pow(121, -1, sizes)
    wrapped = [(n, (n - before) * inverse % sizes) for n in range(before)]  # 121 times as many are n - before, wrapped
    given = [(n, classes) for n, classes in wrapped if 0 < classes < sizes // 64]
    assert given
    for n, classes in given[:20]:
        with pytest.raises(ValueError, match="classes"):
            KERNEL.scores(
                np.ones(n, np.float32), np.empty((0, 1, 28, 28), np.float32), np.empty((0, classes), np.float32)
            )


@pytest.mark.skipif(KERNEL is None, reason="no compiler at installation")
def test_no_pictures_have_no_gradient() -> None:
    x, y, gradient = np.empty((0, 1, 28, 28), np.float32), np.empty(0, np.int64), np.zeros_like(weights(0))
    with pytest.raises(ValueError, match="there must be a picture"):
        KERNEL.gradient(weights(0), x, y, gradient)


def test_a_version_that_there_is_not_is_not_taken() -> None:
    assert not choose("mmx")

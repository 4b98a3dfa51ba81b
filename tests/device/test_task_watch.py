"""Smartwatch windows: whose they are, and that a pickle is read without doing what it says."""

import contextlib
import io
import os
import pickle  # noqa: TID251 - to make what must be refused
import pickletools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from skerry.config import ModelConfig, TaskConfig
from skerry.device.tasks.inert_pickle import read_pickled_npy, unpickle_arrays
from skerry.device.tasks.watch import SCALE, WatchTask, _file
from skerry.device.tasks.windowing import cut, standardise, synthetic_windows
from skerry.errors import MissingDependencyError, ScenarioError, TaskError


def watch(**config) -> WatchTask:
    return WatchTask(TaskConfig(name="watch", **config), ModelConfig())


@pytest.fixture(scope="module")
def task() -> WatchTask:
    return watch(holdout=0)


# --- whose windows these are


def test_the_windows_are_those_of_the_package(task):
    """Read independently, by seglearn's own loader."""
    from seglearn.datasets import load_watch

    source = load_watch()
    holders = {name: task.local_data(name) for name in task.devices()} | dict(task.evaluation())
    assert len(holders) == 10
    for person in range(1, 11):
        x, y = [], []
        for i in np.flatnonzero(source["subject"] == person):
            for start in range(0, len(source["X"][i]) - 127, 64):
                x.append(source["X"][i][start : start + 128])
                y.append(source["y"][i])
        mine = holders[f"subject-{person:02d}"]
        assert np.array_equal(mine.x, np.array(x, np.float32))
        assert mine.y.tolist() == y


def test_five_folds_are_pairs_of_people_and_nobody_is_on_both_sides():
    folds = [watch(holdout=fold) for fold in range(5)]
    pairs = [list(fold.evaluation()) for fold in folds]
    assert pairs == [[f"subject-{2 * i + 1:02d}", f"subject-{2 * i + 2:02d}"] for i in range(5)]
    for fold in folds:
        assert len(fold.devices()) == 8
        assert not set(fold.devices()) & set(fold.evaluation())
        with pytest.raises(TaskError):
            fold.local_data(next(iter(fold.evaluation())))
    named = watch(holdout=["subject-10", "subject-04"])
    assert list(named.evaluation()) == ["subject-04", "subject-10"]


def test_every_person_does_every_exercise(task):
    assert all(set(task.local_data(name).y.tolist()) == set(range(len(task.classes))) for name in task.devices())
    assert len({task.identity(name) for name in task.devices()}) == 8


def test_what_the_network_gets_is_in_units_of_the_sensors(task):
    data = task.local_data("subject-03")
    x = task.transform(data.x)
    assert x.shape[1:] == task.input_shape == (6, 1, 128)
    assert np.allclose(x[:, :, 0].transpose(0, 2, 1) * SCALE, data.x, atol=1e-6)
    assert 0.3 < x.std((0, 2, 3)).min() < x.std((0, 2, 3)).max() < 3
    alone = np.concatenate([task.transform(data.x[i : i + 1]) for i in range(20)])
    assert np.array_equal(alone, x[:20])


def test_calibration_without_a_volunteer_holds_nobodys_windows(task):
    public = task.public_data()
    assert set(public.y.tolist()) == {-1}
    assert np.array_equal(public.x, watch(holdout=3).public_data().x)
    x = task.transform(public.x)
    assert x.shape[1:] == task.input_shape
    assert 3 < np.abs(x).max() < 16


def test_a_volunteer_is_public_and_neither_trains_nor_is_held_out():
    task = watch(holdout=4, public="subject-05")
    assert "subject-05" not in {*task.devices(), *task.evaluation()}
    assert len(task.devices()) + len(task.evaluation()) == 9
    assert set(task.public_data().y.tolist()) == set(range(7))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"public": "ann"}, "no person 'ann'"),
        ({"holdout": "subject-1"}, "no device 'subject-1'"),
        ({"window": 1000}, "do not fit the shortest"),
    ],
)
def test_unusable_settings_are_explained(config, said):
    with pytest.raises(TaskError, match=said) as caught:
        watch(**config)
    assert caught.value.mend


def test_a_fold_beyond_the_fifth_is_refused():
    from skerry.config import parse_scenario

    with pytest.raises(ScenarioError, match=r"task\.holdout"):
        parse_scenario("[task]\nname = 'watch'\nholdout = 5")


def test_without_the_package_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(MissingDependencyError) as caught:
        _file()
    assert "pip install seglearn" in caught.value.mend


# --- windows


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 25))
def test_windows_lie_inside_their_series(readings, length, stride):
    series = np.arange(readings)[:, None] + np.array([0.0, 1000.0])
    windows = cut(series, length, stride)
    starts = list(range(0, readings - length + 1, stride))
    assert windows.shape == (len(starts), length, 2)
    for start, window in zip(starts, windows, strict=True):
        assert np.array_equal(window, series[start : start + length])


def test_the_network_sees_means_of_readings_in_a_row(task):
    """The same windows, each four times shorter for the network; synthetic ones too."""
    shorter = watch(holdout=0, downsample=4)
    assert shorter.input_shape == (6, 1, 32)
    x = task.local_data("subject-03").x
    assert np.array_equal(x, shorter.local_data("subject-03").x)
    seen = task.transform(x)
    means = sum(seen[..., start::4] for start in range(4)) / 4
    assert np.allclose(shorter.transform(x), means, atol=1e-5)
    assert shorter.transform(shorter.public_data().x).shape == (512, 6, 1, 32)


def test_a_window_holds_whole_means():
    with pytest.raises(ValueError, match=r"set task.window = 126"):
        TaskConfig(name="watch", window=128, downsample=3)


def test_standardising_and_synthetic_windows_use_the_declared_constants():
    mean, scale = np.array([5.0, 0.0], np.float32), np.array([2.0, 100.0], np.float32)
    x = standardise(synthetic_windows(256, 64, mean, scale), mean, scale)
    assert x.shape == (256, 2, 1, 64)
    assert np.all(np.abs(x.mean((0, 2, 3))) < 0.2)
    assert np.allclose(x.std((0, 2, 3)), 1, atol=0.35)


# --- pickles


def npy(tmp_path: Path, payload: bytes) -> Path:
    path = tmp_path / "data.npy"
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
    path.write_bytes(stream.getvalue() + payload)
    return path


@given(
    arrays(
        st.sampled_from([np.dtype(kind) for kind in ("<f4", ">f8", "<i8", "u1", "?", "<u2")]),
        array_shapes(min_dims=1, max_dims=3),
    ),
    st.sampled_from([2, 3, 4]),
    st.sampled_from("CF"),
)
def test_arrays_that_numpy_pickled_are_read_exactly(array, protocol, order):
    content = {"x": [np.array(array, order=order), "text", 7], "y": bool(array.all()), "z": None}
    found = unpickle_arrays(pickle.dumps(content, protocol))
    assert found["x"][0].dtype == array.dtype
    assert found["x"][0].tobytes() == array.tobytes()
    assert found["x"][0].shape == array.shape
    assert (found["x"][1:], found["y"], found["z"]) == (["text", 7], content["y"], None)


class Runs:
    """A pickle that runs a command when it is loaded in earnest."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def test_a_pickle_that_runs_a_command_is_refused(tmp_path):
    trace = tmp_path / "was-run"
    for function, argument in ((os.system, f"touch {trace}"), (exec, f"open({str(trace)!r}, 'w')"), (open, str(trace))):
        for protocol in (0, 1, 2, 3, 4, 5):
            payload = pickle.dumps({"X": Runs(function, argument)}, protocol)
            with pytest.raises(TaskError, match="refused") as caught:
                read_pickled_npy(npy(tmp_path, payload))
            assert caught.value.mend
    assert not trace.exists()
    payload = pickle.dumps(Runs(os.system, f"touch {trace}"))
    pickle.loads(payload)
    assert trace.exists()  # the same bytes do run where nothing is refused


@pytest.mark.parametrize("function", [np.load, np.frombuffer, np.dtype.newbyteorder, getattr, __import__])
def test_only_what_arrays_need_may_be_named(function):
    with pytest.raises(ValueError, match="asks for"):
        unpickle_arrays(pickle.dumps([Runs(function, "x")], 2))


GLOBALS = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R".replace(
    b"U\x01b", b"X\x01\x00\x00\x00b"
)


def array_with(kind: bytes, flags: bytes, content: bytes) -> bytes:
    """A pickled array of shape (1,) whose dtype has the given code and flags and whose content is given."""
    dtype = b"cnumpy\ndtype\nX\x02\x00\x00\x00" + kind + b"\x89\x88\x87R"
    state = b"(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff" + flags + b"tb"
    return GLOBALS + b"(K\x01K\x01\x85" + dtype + state + b"\x89" + content + b"tb."


def test_a_forged_object_type_cannot_turn_bytes_into_pointers():
    raw = b"C\x08" + b"\x41" * 8  # eight bytes, where a list of one object belongs
    payload = array_with(b"O8", b"K\x00", raw)
    list(pickletools.genops(payload))
    with pytest.raises(ValueError, match="no list"):
        unpickle_arrays(payload)


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (array_with(b"V8", b"K\x00", b"C\x08" + bytes(8)), "an array of"),
        (array_with(b"f8", b"K\x00", b"C\x07" + bytes(7)), "do not fill"),
        (b"\x80\x02r\xff\xff\xff\x7f.", "memo slot"),
        (b"\x80\x02]q\x00h\x00a.", "nested"),
        (b"\x80\x02cnumpy\ndtype\n.", "something else"),
        (b"\x80\x02cnumpy\nndarray\n}X\x01\x00\x00\x00aK\x01sb.", "well-formed"),
        (b"\x80\x02cnumpy\ndtype\nNX\x01\x00\x00\x00a\x86b.", "well-formed"),
        (GLOBALS + b".", "without content"),
        (b"", "exhausted"),
        (b"\x80\x02G?\xf0\x00\x00\x00\x00\x00\x00.", "BINFLOAT"),
    ],
)
def test_forged_pickles_are_refused(payload, said):
    with pytest.raises(ValueError, match=said):
        unpickle_arrays(payload)


def test_bytes_cannot_be_multiplied_without_end():
    text = "a" * 10_000
    head = b"\x80\x02]c_codecs\nencode\nq\x00X" + len(text).to_bytes(4, "little") + text.encode()
    head += b"X\x06\x00\x00\x00latin1\x86q\x01R"
    payload = head + b"ah\x00h\x01R" * 50 + b"a."
    with pytest.raises(ValueError, match="repeats"):
        unpickle_arrays(payload)


@given(st.binary(max_size=60))
def test_foreign_bytes_are_refused_or_are_plain_data(data):
    with contextlib.suppress(ValueError):
        unpickle_arrays(b"\x80\x02" + data)


@given(st.data())
def test_a_damaged_pickle_is_refused_or_gives_plain_data(data):
    whole = bytearray(pickle.dumps({"x": [np.arange(5.0)], "y": "text"}, 2))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255))
    try:
        found = unpickle_arrays(bytes(whole))
    except ValueError:
        return
    assert isinstance(found, dict | list | str | int | bytes | np.ndarray | None)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "a.npy"
    for content, said in ((b"no array", "not a readable"), (b"", "not a readable")):
        path.write_bytes(content)
        with pytest.raises(TaskError, match=said):
            read_pickled_npy(path)
    np.save(path, np.zeros(3))
    with pytest.raises(TaskError, match="does not hold one pickled object"):
        read_pickled_npy(path)


def test_another_recording_is_refused(tmp_path, monkeypatch):
    content = {"X": [np.zeros((200, 6))], "y": np.array([0]), "subject": np.array([1])}
    path = npy(tmp_path, pickle.dumps(np.array(content, object), 2))
    monkeypatch.setattr("skerry.device.tasks.watch._file", lambda: path)
    with pytest.raises(TaskError, match="not the ten people's"):
        watch()

"""The user's own tables: windows belong to one recording and one label, and each fault is named where it is."""

import builtins
import csv
from pathlib import Path

import numpy as np
import pytest

from skerry.config import ModelConfig, TaskConfig
from skerry.device.tasks.windows import WindowsTask
from skerry.errors import MissingDependencyError, TaskError

ROWS = 40


def rows(devices="abcde", labels=("run", "walk"), count=ROWS) -> list[dict]:
    """For each device one recording of each label; readings tell device, label and time apart."""
    made = []
    for d, device in enumerate(devices):
        for k, label in enumerate(labels):
            for t in range(count):
                made.append({"device": device, "label": label, "ax": 100 * d + 10 * k, "ay": t})
    return made


def write(path: Path, content: list[dict], delimiter: str = ",") -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(content[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(content)
    return path


def windows(root: Path, **config) -> WindowsTask:
    config = {"window": 16, "stride": 8, "scale": (100.0, 20.0), **config}
    return WindowsTask(TaskConfig(name="windows", root=root, **config), ModelConfig())


@pytest.fixture
def table(tmp_path) -> Path:
    return write(tmp_path / "readings.csv", rows())


# --- what the table says


def test_rows_become_windows_of_one_device_and_one_label(table):
    task = windows(table, holdout="e", stride=10)
    assert (task.columns, task.classes, task.input_shape) == (("ax", "ay"), ("run", "walk"), (2, 1, 16))
    assert task.devices() == ("a", "b", "c", "d")
    assert list(task.evaluation()) == ["e"]
    for d, device in enumerate(task.devices()):
        data = task.local_data(device)
        assert data.y.tolist() == [0, 0, 0, 1, 1, 1]
        assert np.array_equal(data.x[:, :, 0], 100 * d + 10 * np.repeat(data.y[:, None], 16, 1))
        assert data.x[:3, 0, 1].tolist() == [0, 10, 20]
        assert np.all(np.diff(data.x[:, :, 1], axis=1) == 1)  # no window crosses from one recording to the next
    with pytest.raises(TaskError):
        task.local_data("e")


def test_declared_constants_standardise(table):
    task = windows(table, mean=[10.0, 0.0], scale=[2.0, 4.0])
    x = task.local_data(task.devices()[0]).x
    assert np.allclose(task.transform(x)[:, :, 0, :].transpose(0, 2, 1), (x - [10, 0]) / [2, 4])
    one = windows(table, scale=[5.0])
    assert np.allclose(one.transform(x)[:, :, 0, :].transpose(0, 2, 1), x / 5)


def test_the_network_sees_means_of_rows_in_a_row(table):
    task = windows(table, downsample=4)
    assert task.input_shape == (2, 1, 4)
    x = task.local_data("b").x
    means = (x.reshape(len(x), 4, 4, 2).mean(2) / [100, 20]).transpose(0, 2, 1)
    assert np.allclose(task.transform(x)[:, :, 0], means)
    assert task.transform(task.public_data().x).shape == (512, *task.input_shape)


def test_a_public_device_standardises_and_no_private_reading_has_a_say(tmp_path):
    content = rows()
    one = windows(write(tmp_path / "one.csv", content), public="b", holdout="e", scale=None)
    public = one.transform(one.public_data().x)
    assert np.allclose(public.mean((0, 2, 3)), 0, atol=1e-5)
    assert np.allclose(public.std((0, 2, 3)), 1, atol=1e-5)
    assert set(one.public_data().y.tolist()) == {0, 1}
    assert "b" not in {*one.devices(), *one.evaluation()}
    for row in content:
        if row["device"] in "acde":
            row["ax"], row["ay"] = row["ax"] * 7 + 1000, -row["ay"]
    other = windows(write(tmp_path / "other.csv", content), public="b", holdout="e", scale=None)
    assert np.array_equal(public, other.transform(one.public_data().x))


def test_without_public_data_calibration_windows_are_synthetic(table, tmp_path):
    task = windows(table, mean=[50.0, 0.0])
    public = task.public_data()
    assert set(public.y.tolist()) == {-1}
    assert np.abs(task.transform(public.x).std() - 1) < 0.4
    other = windows(write(tmp_path / "other.csv", rows("vwxyz", count=60)), mean=[50.0, 0.0])
    assert np.array_equal(public.x, other.public_data().x)


def test_time_orders_rows_and_a_series_column_keeps_recordings_apart(tmp_path):
    content = []
    for row in rows(count=32):
        for recording in (0, 1):
            content.append(
                {**row, "when": row["ay"] / 50 + 9 * (row["label"] == "walk"), "recording": recording, "ax": recording}
            )
    np.random.default_rng(0).shuffle(content)
    path = write(tmp_path / "mixed.csv", content)
    task = windows(path, time_column="when", series_column="recording")
    assert task.columns == ("ax", "ay")
    data = task.local_data(task.devices()[0])
    assert len(data) == 2 * 2 * 3
    assert np.all(np.diff(data.x[:, :, 1], axis=1) == 1)
    assert np.all(data.x[:, :, 0] == data.x[:, :1, 0])
    with pytest.raises(TaskError, match="two rows of one time") as caught:
        windows(path, time_column="when", columns=["ax", "ay"])
    assert "task.series_column" in caught.value.mend


@pytest.mark.parametrize(
    "form", ["2024-02-29T10:{:02d}:{:02d}", "2024-02-29 10:{:02d}:{:02d}Z", "2024-02-29T10:{:02d}:{:02d}+01:00"]
)
def test_time_may_be_dates(tmp_path, form):
    content = [{**row, "when": form.format(row["label"] == "walk", row["ay"])} for row in rows(count=30)]
    task = windows(write(tmp_path / "dated.csv", content[::-1]), time_column="when")
    assert np.all(np.diff(task.local_data(task.devices()[0]).x[:, :, 1], axis=1) == 1)


def test_a_folder_holds_a_recording_in_each_file(tmp_path):
    for device in "abcde":
        write(tmp_path / f"{device}.csv", rows(device), delimiter=";")
        write(tmp_path / f"{device}2.csv", rows(device), delimiter="\t")
    task = windows(tmp_path)
    assert len(task.local_data(task.devices()[0])) == 2 * 2 * 4
    assert np.all(np.diff(task.local_data(task.devices()[0]).x[:, :, 1], axis=1) == 1)


def test_parquet_says_the_same_as_csv(table, tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    content = rows()
    path = tmp_path / "readings.parquet"
    parquet.write_table(pa.table({name: [row[name] for row in content] for name in content[0]}), path)
    assert windows(path).identity() == windows(table).identity()
    content = [{**row, "label": int(row["label"] == "walk")} for row in content]
    stamped = pa.table(
        {
            **{name: [row[name] for row in content][::-1] for name in content[0]},
            "when": pa.array([row["ay"] + 99 * row["label"] for row in content][::-1], pa.timestamp("ms")),
        }
    )
    parquet.write_table(stamped, path)
    task = windows(path, time_column="when")
    assert task.classes == ("0", "1")
    assert task.identity() == windows(table).identity()


def test_labels_that_are_numbers_are_in_their_order(tmp_path):
    content = [{**row, "label": {"run": 10, "walk": 9}[row["label"]]} for row in rows()]
    assert windows(write(tmp_path / "numbers.csv", content)).classes == ("9", "10")


def test_declared_classes_are_the_same_on_a_device_that_saw_only_one(tmp_path):
    path = write(tmp_path / "one.csv", rows("ab", labels=("walk",)))
    task = windows(path, classes=["run", "walk", "swim"], holdout="b")
    assert task.classes == ("run", "walk", "swim")
    assert set(task.local_data("a").y.tolist()) == {1}
    with pytest.raises(TaskError, match="'walk' is not among") as caught:
        windows(path, classes=["run", "walking"])
    assert "'walking'" in caught.value.mend


def test_a_changed_file_is_read_again(tmp_path):
    path = write(tmp_path / "readings.csv", rows())
    before = windows(path).identity()
    write(path, rows(count=48))
    assert windows(path).identity() != before


# --- what is wrong with a table


def spoil(content: list[dict], row: int, **values) -> list[dict]:
    content[row] = {**content[row], **values}
    return content


@pytest.mark.parametrize(
    ("content", "config", "said", "where"),
    [
        (spoil(rows(), 7, ax="nan"), {}, "nan in column 'ax'", "row 8"),
        (spoil(rows(), 7, ay="inf"), {}, "inf in column 'ay'", "row 8"),
        (spoil(rows(), 9, ay=""), {}, "a value is missing in column 'ay'", "row 10"),
        (spoil(rows(), 9, ay="fast"), {}, "'fast' is not a number in column 'ay'", "row 10"),
        (spoil(rows(), 3, label=""), {}, "a value is missing in column 'label'", "row 4"),
        (spoil(rows(), 3, device="../x"), {}, "'../x' cannot be a device's name", "readings.csv"),
        (rows(labels=("walk",)), {}, "only one class: walk", "readings.csv"),
        (rows(count=15), {}, "device 'a' has no window of 16 rows", "readings.csv"),
        (rows() + rows("f", count=3), {}, "device 'f' has no window", "readings.csv"),
        (rows("a"), {}, "at least two devices", "readings.csv"),
        (rows(), {"device_column": "devise"}, "no column 'devise'", "readings.csv"),
        (rows(), {"columns": ["ax", "ayy"]}, "no column 'ayy'", "readings.csv"),
        (rows(), {"label_column": "ax", "columns": ["label"]}, "'run' is not a number", "row 1"),
        (rows(), {"scale": None}, "nothing says how", "readings.csv"),
        (rows(), {"scale": [1.0, 2.0, 3.0]}, "3 numbers are given for 2", "task.scale"),
        (rows(), {"mean": [1.0, 2.0, 3.0]}, "3 numbers are given for 2", "task.mean"),
        (rows(), {"public": "z"}, "no device 'z'", "readings.csv"),
        (rows(), {"holdout": "z"}, "no device 'z'", "readings.csv"),
        ([{**row, "ax": 1} for row in rows()], {"scale": None, "public": "a"}, "'ax' never changes", "readings.csv"),
        ([{**row, "when": "noon"} for row in rows()], {"time_column": "when"}, "'noon'", "row 1"),
        ([{"device": "a", "label": "run"}], {}, "no sensor column", "readings.csv"),
    ],
)
def test_a_fault_is_named_with_its_place(tmp_path, content, config, said, where):
    path = write(tmp_path / "readings.csv", content)
    with pytest.raises(TaskError) as caught:
        windows(path, **config)
    assert said in caught.value.what
    assert where in caught.value.where
    assert caught.value.mend or said == "at least two devices"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("device,label,ax\n", "no rows"),
        ("device,label,ax\na,run,1\na,ru", "2 values where the header names 3"),
        ("device,label,ax\na,run,1\n\na,run,2\n", "0 values where the header names 3"),
        ("device,label,ax,ax\na,run,1,2\n", "two columns are called 'ax'"),
        ('device,label,ax\n"a,run,1\n', "cannot be read"),
        ("device,label,ax\n\udcff,run,1\n", "cannot be read"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, text, said):
    path = tmp_path / "readings.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(TaskError, match=said) as caught:
        windows(path)
    assert str(path) in caught.value.where


def test_the_near_match_of_a_column_is_offered(table):
    with pytest.raises(TaskError) as caught:
        windows(table, label_column="labels")
    assert "did you mean 'label'?" in caught.value.mend


@pytest.mark.parametrize(
    ("name", "said"),
    [("none.csv", "does not exist"), ("readings.txt", "neither a .csv nor"), ("empty", "no .csv or .parquet")],
)
def test_a_root_that_holds_nothing_is_explained(tmp_path, name, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "readings.txt").write_text("x")
    with pytest.raises(TaskError, match=said):
        windows(tmp_path / name)
    with pytest.raises(TaskError, match="needs a file or folder"):
        WindowsTask(TaskConfig(name="windows"), ModelConfig())


def test_damaged_parquet_and_a_missing_reader_are_explained(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    path = tmp_path / "readings.parquet"
    path.write_bytes(b"PAR1 but cut short")
    with pytest.raises(TaskError, match="cannot be read"):
        windows(path)
    real = builtins.__import__

    def without_pyarrow(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    with pytest.raises(MissingDependencyError) as caught:
        windows(path)
    assert "skerry[parquet]" in caught.value.mend

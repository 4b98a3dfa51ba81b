"""A log is opened at the end of what its key has signed: what that checks, what it leaves to a reading of all of it."""

import shutil

import pytest

from skerry.errors import LedgerCorruptError
from skerry.security import Identity
from skerry.security.privacy.chain import entry, line
from skerry.security.transparency import Checkpoint, MerkleTree, NoteSigner, TiledTree
from skerry.security.transparency import log as module
from skerry.security.transparency.events import Event, EventKind
from skerry.security.transparency.log import Change, Log
from skerry.security.transparency.signed_end import signed_checkpoint

NOW = 1_800_000_000_000
SIGNER = NoteSigner("skerry/log/test", Identity.generate("log").signing)


def events(count, first=0):
    return [
        Event(EventKind.LEDGER_HEAD, {"ledger": "l", "size": n, "root": "01" * 32}) for n in range(first, first + count)
    ]


@pytest.fixture(scope="module")
def long_log(tmp_path_factory):
    """More than two full tiles, in batches of odd sizes."""
    folder = tmp_path_factory.mktemp("long") / "log"
    log = Log(folder, SIGNER)
    for size in (1, 254, 1, 3, 300, 41):
        log.append(events(size, len(log)), NOW)
    return folder


@pytest.fixture
def folder(long_log, tmp_path):
    return shutil.copytree(long_log, tmp_path / "log")


def lines_of(folder):
    return (folder / "log.jsonl").read_bytes().splitlines(keepends=True)


def walked(monkeypatch):
    """How many entries are read from now on."""
    read, walk = [], module.walk

    def counted(*given, **named):
        for one in walk(*given, **named):
            read.append(one.seq)
            yield one

    monkeypatch.setattr(module, "walk", counted)
    return read


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 513, 600])
def test_a_log_goes_on_from_its_signed_end_as_if_all_of_it_had_been_read(tmp_path, monkeypatch, size):
    whole, short = Log(tmp_path / "whole", SIGNER), tmp_path / "short"
    whole.append(events(size), NOW)
    shutil.copytree(tmp_path / "whole", short)
    read = walked(monkeypatch)
    log = Log(short, SIGNER)
    for batch in (1, 5, 255, 2):
        made = log.append(events(batch), NOW)
        assert [one.seq for one in made] == list(range(len(log) - batch, len(log)))
    assert read == list(range(size, size + 263))
    proof = log.prove(len(log) - 1)
    assert proof.verify(SIGNER.key) == log.checkpoint()
    assert len(read) == 263  # what was entered since is proved without the rest
    tree = MerkleTree(bytes.fromhex(one.hash) for one in log.entries())
    assert log.checkpoint() == Checkpoint(SIGNER.key.name, size + 263, tree.root())
    published = TiledTree(short / "published", size + 263)
    assert published.is_whole()
    assert (published.root(), published.root(size)) == (tree.root(), whole.checkpoint().root)
    assert log.prove(0).verify(SIGNER.key) == log.checkpoint()


def test_opening_and_entering_read_no_older_entry(folder, monkeypatch):
    read = walked(monkeypatch)
    log = Log(folder, SIGNER)
    assert len(log) == 600
    assert log.checkpoint() == Checkpoint.open(
        (folder / "published" / "checkpoint").read_text(), [SIGNER.key], origin=SIGNER.key.name
    )
    log.append(events(2), NOW)
    assert read == [600, 601]
    assert len(log.entries()) == 602
    assert read[2:] == list(range(602))


def test_what_follows_the_signed_end_is_read_and_checked(folder, tmp_path, monkeypatch):
    other = Log(shutil.copytree(folder, tmp_path / "other"), SIGNER)
    other.append(events(3), NOW)
    after = lines_of(tmp_path / "other")[600:]
    path = folder / "log.jsonl"
    with path.open("ab") as file:  # entered, and the writer was killed before it published
        file.write(b"".join(after))
    read = walked(monkeypatch)
    assert Log(folder, SIGNER).checkpoint() == other.checkpoint()
    assert read == [600, 601, 602]
    for bad in ([after[0], after[2]], [after[1]], [after[0].replace(b"0101", b"0201", 1)]):
        path.write_bytes(b"".join([*lines_of(folder)[:600], *bad]))
        with pytest.raises(LedgerCorruptError):
            Log(folder, SIGNER)


@pytest.mark.parametrize("number", [0, 255, 300, 590])
@pytest.mark.parametrize("how", ["changed", "dropped", "moved"])
def test_an_older_entry_that_is_not_as_it_was_is_found_by_whoever_reads_and_signs_nothing(folder, number, how):
    lines = lines_of(folder)
    match how:
        case "changed":
            lines[number] = lines[number].replace(b"0101", b"0201", 1)
        case "dropped":
            del lines[number]
        case "moved":
            lines[number], lines[number + 1] = lines[number + 1], lines[number]
    before = Log(folder, SIGNER).checkpoint()
    (folder / "log.jsonl").write_bytes(b"".join(lines))
    log = Log(folder, SIGNER)
    log.append(events(1), NOW)  # what is signed rests on the hashes that were signed before
    assert TiledTree(folder / "published", 601).root(600) == before.root
    assert TiledTree(folder / "published", 601).root() == log.checkpoint().root
    for reading in (
        log.entries,
        lambda: log.prove(number),
        lambda: log.erase([number]),
        lambda: log.revise(lambda _: Change(enter=tuple(events(1))), NOW),
        lambda: Log(folder, SIGNER).entries(),
    ):
        with pytest.raises(LedgerCorruptError):
            reading()
    assert len(lines_of(folder)) == len(lines) + 1


def _last_tile(folder):
    return max((folder / "published" / "tile" / "0" / "002.p").iterdir(), key=lambda path: int(path.name))


def _altered_tile(folder):
    tile = _last_tile(folder)
    tile.write_bytes(bytes(32) + tile.read_bytes()[32:])


def _short_tile(folder):
    tile = _last_tile(folder)
    tile.write_bytes(tile.read_bytes()[:-5])


@pytest.mark.parametrize("spoil", [_altered_tile, _short_tile, lambda folder: shutil.rmtree(folder / "published/tile")])
def test_where_the_tiles_do_not_give_the_signed_root_all_of_it_is_read_and_they_are_written_anew(
    folder, monkeypatch, spoil
):
    spoil(folder)
    read = walked(monkeypatch)
    log = Log(folder, SIGNER)
    assert read == list(range(600))
    log.append(events(1), NOW)
    tree = TiledTree(folder / "published", 601)
    assert tree.is_whole()
    assert tree.root() == log.checkpoint().root


@pytest.mark.parametrize("size", [256, 512])
def test_a_hash_over_full_tiles_is_not_believed_either(tmp_path, size):
    """What stands above the last leaf's own tile is on no way from that leaf, and the next root is made of it."""
    Log(tmp_path / "log", SIGNER).append(events(size), NOW)
    tile = tmp_path / "log" / "published" / "tile" / "1" / "000.p" / str(size // 256)
    tile.write_bytes(tile.read_bytes()[:-32] + bytes(32))
    log = Log(tmp_path / "log", SIGNER)
    log.append(events(1), NOW)
    assert log.checkpoint().root == MerkleTree(bytes.fromhex(one.hash) for one in log.entries()).root()
    assert Log(tmp_path / "log", SIGNER).checkpoint() == log.checkpoint()


def test_a_last_entry_and_its_hash_in_a_full_tile_are_not_changed_together(tmp_path):
    log = Log(tmp_path / "log", SIGNER)
    log.append(events(256), NOW)
    *_, before, last = log.entries()
    other = entry(255, before.hash, last.kind, last.at, {**last.body, "size": 7})
    path, tile = tmp_path / "log" / "log.jsonl", tmp_path / "log" / "published" / "tile" / "0" / "000"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]) + line(other))
    tile.write_bytes(tile.read_bytes()[:-32] + bytes.fromhex(other.hash))
    with pytest.raises(LedgerCorruptError, match="does not extend"):
        Log(tmp_path / "log", SIGNER)


def test_a_last_entry_that_is_not_the_one_that_was_signed_is_not_opened(folder):
    lines, path = lines_of(folder), folder / "log.jsonl"
    for bad in (
        [*lines[:599], lines[599].replace(b"0101", b"0201", 1)],
        lines[:599],
        [*lines[:598], lines[599].replace(b'"seq":599', b'"seq":598')],
        [*lines, lines[599]],  # twice
        [*lines[:598], lines[599]],
    ):
        path.write_bytes(b"".join(bad))
        with pytest.raises(LedgerCorruptError):
            Log(folder, SIGNER)
    path.write_bytes(b"".join(lines)[:-1])  # it lacks its line end only
    log = Log(folder, SIGNER)
    log.append(events(1), NOW)
    assert len(log.entries()) == 601


def _first_tile(folder):
    return folder / "published" / "tile" / "0" / "000"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: _first_tile(folder).write_bytes(b""),
        lambda folder: _first_tile(folder).unlink(),
        lambda folder: _first_tile(folder).write_bytes(bytes(32 * 256)),
        _altered_tile,
        lambda folder: (folder / "published" / "checkpoint").unlink(),
        lambda folder: shutil.rmtree(folder / "published"),
    ],
)
def test_what_witnesses_read_is_written_again_where_it_is_lost_or_altered(folder, spoil):
    before = Log(folder, SIGNER).checkpoint()
    assert not Log(folder, SIGNER).publish_again()
    spoil(folder)
    log = Log(folder, SIGNER)
    assert log.publish_again()
    assert signed_checkpoint(folder / "published", SIGNER.key) == log.checkpoint() == before
    tree = TiledTree(folder / "published", 600)
    assert tree.is_whole()
    assert tree.root() == before.root
    assert not log.publish_again()


def test_a_log_that_is_not_as_it_was_is_not_published_again_and_the_error_is_a_logs(folder):
    (folder / "log.jsonl").write_bytes(b"".join(lines_of(folder)[200:]))
    _first_tile(folder).write_bytes(b"")
    with pytest.raises(LedgerCorruptError, match="log entry 0") as raised:
        Log(folder, SIGNER).publish_again()
    assert "restore log.jsonl" in raised.value.mend
    assert _first_tile(folder).read_bytes() == b""


def test_an_empty_log_has_nothing_to_publish(tmp_path):
    assert not Log(tmp_path / "log", SIGNER).publish_again()

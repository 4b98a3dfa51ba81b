"""Random streams: the cipher is the one of the RFC, seeds reproduce, secrets do not repeat."""

import hashlib
import os

import numpy as np
import pytest

from skerry.errors import InputError
from skerry.security.privacy import ChaChaStream, derive_generator, os_stream, seeded_stream
from skerry.security.privacy import stream as stream_module


@pytest.mark.parametrize(
    ("key", "nonce", "expected"),
    [  # RFC 8439, appendix A.1: test vectors 1 with 2 (counters 0 and 1), 5
        (
            bytes(32),
            bytes(12),
            (
                "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
                "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
                "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
                "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
            ),
        ),
        (bytes(32), bytes(11) + b"\x02", "c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c7"),
    ],
)
def test_the_key_stream_is_that_of_rfc_8439(key, nonce, expected):
    assert ChaChaStream(key, nonce).bytes(len(expected) // 2).hex() == expected


def test_words_and_bytes_are_one_stream_read_in_any_portions():
    whole = seeded_stream(7, "portions").bytes(800)
    again = seeded_stream(7, "portions")
    parts = again.bytes(80) + again.uint64(50).tobytes() + again.bytes(1) + again.bytes(319)
    assert parts == whole
    assert seeded_stream(7, "portions").uint64(100).astype("<u8").tobytes() == whole


def test_a_seed_gives_the_same_bits_on_every_machine():
    # A pinned value: noise of recorded runs must stay reproducible.
    found = hashlib.sha256(seeded_stream(0, "writer-00", "noise", 3).bytes(1000)).hexdigest()
    assert found == "73e11844d640ac61e1a2004ce1e3f2cf206c6e81f8ae5cc37ef234d826cd9aac"
    assert derive_generator(0, "shuffle", 1).integers(2**32, size=3).tolist() == [1753294290, 3780268185, 542352115]


def test_a_key_that_is_given_later_is_asked_for_once_and_not_before_something_is_drawn():
    asked = []

    def key():
        asked.append(1)
        return bytes(range(32))

    late, again, plain = ChaChaStream(key), ChaChaStream(key), ChaChaStream(bytes(range(32)))
    assert (late.drawn, late.is_seeded, asked) == (0, False, [])
    assert late.bytes(100) + late.bytes(28) == plain.bytes(128)
    assert len(asked) == 1
    again.skip_to(100)
    assert again.bytes(28) == (plain.skip_to(100), plain.bytes(28))[1]
    assert len(asked) == 2


def test_labels_separate_streams():
    labels = [(), ("a",), ("b",), ("a", "b"), ("ab",), ("a", 1), ("a", "1"), (1,), ("1",), (11,), (1, 1)]
    streams = {seeded_stream(seed, *label).bytes(32) for seed in (0, 1) for label in labels}
    assert len(streams) == 2 * len(labels)
    assert derive_generator(0, "a").random() != derive_generator(0, "b").random()
    assert derive_generator(0, "a").bytes(32) not in streams


def test_a_stream_says_whether_somebody_may_know_it():
    assert seeded_stream(0).is_seeded
    assert not os_stream().is_seeded


def test_secret_streams_differ():
    assert len({os_stream().bytes(32) for _ in range(50)}) == 50


def _draws_in_a_fork(stream) -> bool:
    child = os.fork()
    if child == 0:
        try:
            stream.bytes(8)
        except RuntimeError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_secret_stream_never_gives_parent_and_child_the_same_noise():
    assert not _draws_in_a_fork(os_stream())
    assert _draws_in_a_fork(seeded_stream(0))


def test_a_used_up_stream_stops_before_it_repeats():
    stream = seeded_stream(0)
    stream._left = 10
    stream.bytes(10)
    with pytest.raises(RuntimeError, match="used up"):
        stream.bytes(1)


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_a_permutation_has_every_index_once(n):
    assert sorted(seeded_stream(1).permutation(n).tolist()) == list(range(n))


def test_permutations_are_uniform():
    stream = seeded_stream(2)
    counts = np.zeros((4, 4))
    for _ in range(4000):
        counts[np.arange(4), stream.permutation(4)] += 1
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(750)  # 5 standard deviations of a binomial(4000, 1/4)


def test_a_key_of_the_wrong_length_is_refused():
    for key, nonce in ((bytes(31), bytes(12)), (bytes(32), bytes(16))):
        with pytest.raises(InputError, match="32 and a nonce of 12"):
            ChaChaStream(key, nonce)


def test_a_stream_of_a_given_key_is_the_same_for_all_threads_from_the_first_draw_on(monkeypatch: pytest.MonkeyPatch):
    """Were its cipher made at the first draw, two threads could make one each, and draw the same bits."""
    stream = os_stream()
    monkeypatch.setattr(stream_module, "Cipher", None)
    assert len(stream.bytes(8)) == 8

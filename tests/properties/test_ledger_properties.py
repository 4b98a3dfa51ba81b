"""Whatever happens to a ledger's bytes, it shows, or nothing that counted is lost."""

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.errors import BudgetExceededError, InputError, LedgerCorruptError
from skerry.security.privacy import GaussianEvent, Ledger, Policy, epsilon_from_rdp, rdp, verify_ledger
from skerry.security.privacy.chain import GENESIS, entry, line, split, walk

NOW = 1_763_900_000_000


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A ledger as a device writes it: the policy, twelve debits and two records."""
    path = tmp_path_factory.mktemp("ledger") / "device.jsonl"
    policy = Policy(unit="example", epsilon=8.0, delta=1e-5, simulated=False)
    with Ledger.create(path, scope="device", subject="Ä-00", policy=policy, now=NOW) as ledger:
        for round_ in range(12):
            ledger.debit("run", round_, GaussianEvent(3.0 + round_ / 8), nonce=f"{round_:032x}", now=NOW + round_)
        ledger.record("release", {"digest": "0f" * 32, "name": "délta", "weights": [1.5, -0.0, 1e-30, 3]}, NOW)
        ledger.record("abort", {"nested": {"a": [None, True, {}]}}, NOW)
    return path.read_bytes()


def assert_refused(path, data):
    path.write_bytes(data)
    with pytest.raises(LedgerCorruptError):
        Ledger.open(path)
    assert path.read_bytes() == data
    report = verify_ledger(path, pld=False)
    assert report.problems
    assert report.epsilon_rdp is None


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_is_found(content, tmp_path_factory, data):
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    assert_refused(tmp_path_factory.getbasetemp() / "flipped.jsonl", bytes(changed))


def reads_cleanly(data):
    try:
        complete, torn = split(data)
        return bool(list(walk(complete)) or torn)
    except LedgerCorruptError:
        return False


def test_any_flipped_bit_of_the_first_and_last_entry_is_found(content):
    lines = content.splitlines(keepends=True)
    positions = [*range(len(lines[0])), *range(len(content) - len(lines[-1]), len(content))]
    for position in positions:
        for bit in range(8):
            changed = bytearray(content)
            changed[position] ^= 1 << bit
            assert not reads_cleanly(bytes(changed))


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_dropped_moved_and_repeated_entries_are_found(content, tmp_path_factory, data):
    lines = content.splitlines(keepends=True)
    last = len(lines) - 1
    how = data.draw(st.sampled_from(["drop", "swap", "repeat"]))
    i = data.draw(st.integers(0, last - 1))
    if how == "drop":
        lines[i : data.draw(st.integers(i + 1, last))] = []
    elif how == "swap":
        j = data.draw(st.integers(i + 1, last))
        lines[i], lines[j] = lines[j], lines[i]
    else:
        lines.insert(data.draw(st.integers(0, last + 1)), lines[i])
    assert_refused(tmp_path_factory.getbasetemp() / "moved.jsonl", b"".join(lines))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_entries_of_another_history_do_not_fit(content, tmp_path_factory, data):
    """Each line is genuine and in its place; only what lies before it is another past."""
    own = list(walk(content))
    start = data.draw(st.integers(1, len(own) - 1))
    old = own[start - 1]
    other = entry(old.seq, old.prev, old.kind, old.at + 1, old.body)
    spliced = [*own[: start - 1], other, *own[start:]]
    assert_refused(tmp_path_factory.getbasetemp() / "spliced.jsonl", b"".join(line(e) for e in spliced))


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_replaced_bytes_are_found(content, tmp_path_factory, data):
    start = data.draw(st.integers(0, len(content) - 2))
    stop = data.draw(st.integers(start, min(len(content) - 1, start + 200)))
    new = data.draw(st.binary(max_size=40))
    changed = content[:start] + new + content[stop:]
    if changed != content:
        assert_refused(tmp_path_factory.getbasetemp() / "replaced.jsonl", changed)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_cut_anywhere_by_a_crash_a_ledger_opens_with_every_finished_entry(content, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "cut.jsonl"
    first = content.index(b"\n")
    length = data.draw(st.integers(first, len(content)))
    path.write_bytes(content[:length])
    ends = accumulate(len(raw) for raw in content.splitlines(keepends=True))
    finished = [e for e, end in zip(walk(content), ends, strict=True) if end - 1 <= length]  # line end optional
    with Ledger.open(path) as ledger:
        assert list(ledger.entries()) == finished
        ledger.record("abort", {"after": "the crash"}, NOW)
    report = verify_ledger(path, pld=False)
    assert (report.entries, report.torn_tail, report.problems) == (len(finished) + 1, False, ())


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(body=st.dictionaries(st.text(), PLAIN, max_size=5), at=st.integers(0, 2**53))
def test_any_plain_body_comes_back_as_it_was_written(body, at):
    try:
        made = entry(0, GENESIS, "release", at, body)
    except InputError:  # text that is no Unicode
        return
    assert list(walk(line(made))) == [made]
    assert made.body == body


@settings(max_examples=60, deadline=None)
@given(
    events=st.lists(st.tuples(st.floats(0.3, 60), st.integers(1, 5)), min_size=1, max_size=25),
    epsilon=st.floats(0.5, 20),
)
def test_no_sequence_of_debits_goes_over_budget(tmp_path_factory, events, epsilon):
    path = tmp_path_factory.mktemp("budget") / "ledger.jsonl"
    policy = Policy(unit="example", epsilon=epsilon, delta=1e-6, simulated=False)
    allowed = []
    with Ledger.create(path, scope="device", subject="d", policy=policy, now=0) as ledger:
        for round_, (sigma, steps) in enumerate(events):
            event = GaussianEvent(sigma, 1.0, steps)
            try:
                ledger.debit("run", round_, event, nonce="", now=0)
                allowed.append(event)
            except BudgetExceededError:
                over = sum(rdp(e) for e in [*allowed, event])
                assert epsilon_from_rdp(over, 1e-6)[0] > epsilon * (1 - 1e-9)
        total = epsilon_from_rdp(sum((rdp(e) for e in allowed), rdp(GaussianEvent(1.0, 0.0))), 1e-6)[0]
        assert ledger.epsilon() == pytest.approx(total, rel=1e-9)
        assert total <= epsilon * (1 + 1e-9)
    assert verify_ledger(path, pld=False).problems == ()

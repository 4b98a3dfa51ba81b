"""A device's place outlives wrong clocks, lost answers and silent desks; no sealing key goes early or stays late."""

from contextlib import nullcontext
from pathlib import Path
from random import Random

import pytest

from skerry.device.agent.standing import Standing
from skerry.device.membership import Folder, Step
from skerry.errors import RunFailedError, SkerryError
from skerry.security.enrolment import EnrolmentRefusedError
from skerry.security.identity import PassphraseLock, SealedKeyStore
from tests.server._enrolment import DAY, HOUR, NOW, Federation

WEEK = 7 * DAY
LOCK = PassphraseLock(b"long enough")


class Way:
    """To the desk, as good as a test makes it."""

    def __init__(self, federation: Federation, folder: Folder) -> None:
        self.federation, self.folder = federation, folder
        self.down, self.lost = False, 0
        self.under_way = b""

    def __getattr__(self, name):
        return getattr(self.federation.desk, name)

    def renew(self, request: bytes) -> bytes:
        if self.down:
            raise RunFailedError("nobody answers")
        self.under_way = (self.folder.path / "attempt").read_bytes()
        answer = self.federation.desk.renew(request)
        if self.lost:
            self.lost -= 1
            raise RunFailedError("the line broke")
        return answer


class Pi:
    """An enrolled device, its folder, and a clock of its own."""

    def __init__(self, federation: Federation, path: Path) -> None:
        self.federation, self.off = federation, 0
        self.folder = Folder(path)
        self.way = Way(federation, self.folder)
        self.store = SealedKeyStore.create(self.folder.keys, "pi-1", LOCK, now=federation.now)
        self.folder.apply(federation.invite(), self.store, federation.desk, now=federation.now)

    @property
    def now(self) -> int:
        return self.federation.now + self.off

    def go_on(self, **others):
        return self.folder.go_on(self.store, self.way, now=self.now, **others)[0]

    def tries(self, **others) -> bool:
        try:
            self.go_on(**others)
        except SkerryError:
            return False
        return True

    def taken(self) -> bytes:
        """The key that the federation seals to."""
        return self.federation.office.find("pi-1").kem.key

    def sealed_until(self) -> int:
        """When the federation seals to that key for the last time, unless it gets another."""
        return self.federation.office.find("pi-1").kem.expires

    def kept(self) -> dict[int, bytes]:
        """Public keys, by epoch, whose private parts lie on the disk."""
        return {one.number: one.key.public.raw for one in SealedKeyStore.open(self.folder.keys, LOCK).kem.epochs}


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation(tmp_path)


@pytest.fixture
def pi(federation: Federation, tmp_path: Path) -> Pi:
    return Pi(federation, tmp_path / "pi")


@pytest.mark.parametrize("down", [True, False], ids=["desk unreachable", "desk answers"])
@pytest.mark.parametrize("ahead", [1, 5, 11, 40, 4000])
def test_a_clock_that_was_ahead_costs_neither_the_place_nor_the_key(pi: Pi, federation: Federation, ahead, down):
    before = pi.taken()
    pi.off, pi.way.down = ahead * DAY, down
    for hour in range(3):
        federation.now += hour * HOUR
        assert pi.tries() == (ahead == 1)
    assert before in pi.kept().values()
    assert len(pi.kept()) == (1 if ahead < 14 else 2)  # another is made only where this one has ended
    pi.off, pi.way.down = 0, False
    for day in (0, 1, 9, 13, 20):
        federation.now = NOW + day * DAY + 12 * HOUR
        assert pi.go_on(force=True) is Step.RENEWED
        assert pi.taken() in pi.kept().values()
        assert federation.recipients().ended == ()


def test_a_device_that_looks_now_and_then_deletes_nothing_by_its_own_clock(pi: Pi, federation: Federation):
    federation.now += 10 * DAY
    pi.go_on()
    assert list(pi.kept()) == [1, 2]
    standing = Standing(pi.folder, pi.store, lambda: pi.now, lambda: nullcontext(pi.way))
    pi.off = 8 * DAY
    with pytest.raises(EnrolmentRefusedError) as refused:
        standing.keep_up()
    assert refused.value.reason == "wrong_clock"
    assert list(pi.kept()) == [1, 2]
    pi.off, federation.now = 0, federation.now + WEEK - 1
    standing.keep_up()
    assert 1 in pi.kept()
    federation.now += 60_000
    standing.keep_up()
    assert 1 not in pi.kept()


def test_a_key_that_was_due_for_deletion_waits_for_the_desk_and_no_longer(pi: Pi, federation: Federation):
    federation.now += 10 * DAY
    pi.go_on()
    federation.now += WEEK
    pi.way.down = True
    assert not pi.tries()
    assert 1 in pi.kept()
    pi.way.down = False
    pi.go_on()
    assert 1 not in pi.kept()


def test_the_next_key_is_shown_to_the_desk_at_once_and_again_when_that_failed(pi: Pi, federation: Federation):
    federation.now += 10 * DAY
    pi.store.rotate(pi.now, 14)  # as `skerry security keys rotate` does
    pi.way.lost = 1
    assert not pi.tries()
    assert pi.tries()
    assert pi.taken() == pi.store.epoch.key.public.raw
    assert pi.go_on() is Step.NOTHING


@pytest.mark.parametrize("off", [40 * DAY, -40 * DAY], ids=["ahead", "behind"])
def test_a_key_that_was_made_under_a_wrong_clock_is_replaced(pi: Pi, federation: Federation, off: int):
    pi.store.rotate(NOW + off, 30)
    federation.now += HOUR
    assert pi.go_on() is Step.RENEWED
    assert pi.taken() == pi.store.epoch.key.public.raw
    assert federation.recipients().ended == ()
    assert pi.go_on() is Step.NOTHING


@pytest.mark.parametrize("off", [40 * DAY, -40 * DAY], ids=["ahead", "behind"])
def test_keys_that_were_made_under_a_wrong_clock_can_enrol(federation: Federation, tmp_path: Path, off: int):
    folder = Folder(tmp_path / "pi")
    store = SealedKeyStore.create(folder.keys, "pi-1", LOCK, now=NOW + off)
    assert folder.apply(federation.invite(), store, federation.desk, now=NOW)[0] is Step.ENROLLED
    assert federation.recipients().ended == ()


def test_an_answer_that_was_lost_for_longer_than_its_certificate_holds_is_given_anew(pi: Pi, federation: Federation):
    federation.now += 5 * DAY
    pi.way.lost = 1
    assert not pi.tries()
    federation.now += 20 * DAY  # the certificate that was lost has ended, and the key with it
    assert pi.go_on() is Step.RENEWED
    assert federation.recipients().ended == ()


def test_two_processes_with_one_folder_renew_as_one_device(pi: Pi, federation: Federation):
    other = SealedKeyStore.open(pi.folder.keys, LOCK)
    federation.now += 10 * DAY
    assert pi.go_on() is Step.RENEWED
    assert pi.folder.go_on(other, pi.way, now=pi.now)[0] is Step.NOTHING
    assert other.identity.public.kem_key == pi.taken()
    federation.now += 10 * DAY
    assert pi.folder.go_on(other, pi.way, now=pi.now)[0] is Step.RENEWED
    assert pi.go_on(force=True) is Step.RENEWED
    assert pi.taken() == pi.store.epoch.key.public.raw


@pytest.mark.parametrize("seed", range(3))
def test_whatever_comes_in_whatever_order_the_device_comes_back_and_no_key_goes_early_or_stays_late(
    federation: Federation, tmp_path: Path, seed: int
):
    random, pi = Random(seed), Pi(federation, tmp_path / "pi")
    replaced: dict[bytes, int] = {}  # when it was sealed to for the last time
    learned: dict[bytes, int] = {}  # when the device knew that
    for _ in range(25):
        federation.now += random.choice([60_000, HOUR, DAY, 3 * DAY, 9 * DAY])
        pi.off = random.choice([0, 0, 240_000, -240_000, 8 * DAY, 40 * DAY, -400 * DAY])
        pi.way.down, pi.way.lost = random.random() < 0.3, random.choice([0, 0, 1, 2])
        if random.random() < 0.15:
            pi.store.rotate(pi.now, random.choice([7, 14]))
        if random.random() < 0.2:  # another process has changed the folder, or this one has started again
            pi.store = SealedKeyStore.open(pi.folder.keys, LOCK)
        before, last = pi.taken(), pi.sealed_until()
        done = pi.tries(force=random.random() < 0.2)
        if done and pi.way.under_way and random.random() < 0.2:  # killed before it was noted that the answer came
            (pi.folder.path / "attempt").write_bytes(pi.way.under_way)
        if pi.taken() != before:
            replaced[before] = min(federation.now, last)
        kept = set(pi.kept().values())
        assert pi.taken() in kept
        assert {key for key, at in replaced.items() if federation.now < at + WEEK - 300_000} <= kept
        if random.random() < 0.5:
            _comes_back(pi, replaced, learned)
    _comes_back(pi, replaced, learned)


def _comes_back(pi: Pi, replaced: dict[bytes, int], learned: dict[bytes, int]) -> None:
    pi.off, pi.way.down, pi.way.lost = 0, False, 0
    before, last = pi.taken(), pi.sealed_until()
    pi.go_on()
    if pi.taken() != before:
        replaced[before] = min(pi.now, last)
    for key in replaced:
        learned.setdefault(key, pi.now)
    assert pi.federation.recipients().ended == ()
    assert pi.go_on() is Step.NOTHING
    kept = set(pi.kept().values())
    assert pi.taken() == pi.store.epoch.key.public.raw
    assert not {key for key, at in learned.items() if pi.now >= at + WEEK} & kept

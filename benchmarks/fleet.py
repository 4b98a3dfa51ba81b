"""Benchmark ``fleet``: what thousands of devices that have nothing to do cost a federation's servers.

5,000 idle agents at the gateway of a real ``skerry server up``; TLS, signed requests, a connection of its own for each.
Then instructions are put for some of them, chosen by chance, as a coordinator puts them.

One process (:mod:`_idle_devices`) plays nearly all of them, and is busy. Those of which some are chosen are played by
one of their own: to the gateway they are like all others, but what they hear late was not late because of who plays.

Group: ``idle``. ``SKERRY_FLEET_DEVICES`` plays fewer.
"""

import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from _agent_fleet import servers, start
from _harness import HERE, PYTHON, Claim, NotMeasuredError, Samples, main, progress, versions
from _idle_registry import enter
from _round_split import Servers
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.proto.control_pb2 import ListNodesRequest
from flwr.supercore.control import ControlHttpClient

from skerry.device.app import RECORD
from skerry.security.identity.private_file import read_private
from skerry.server.engines.bundle import write_bundle
from skerry.server.engines.engine import Components
from skerry.server.engines.flwr_grid import DrivenGrid
from skerry.server.engines.flwr_run import driven_run
from skerry.server.federation_home import FederationHome
from skerry.server.gateway import GatewayLimits
from skerry.server.gateway.idle import PROMISED_S, IdleLimits
from skerry.server.running import RunningServer

DEVICES = int(os.environ.get("SKERRY_FLEET_DEVICES", "5000"))
WATCHED = min(200, DEVICES // 5)
CHOSEN, TIMES, EVERY_S = 20, 6, 8.0
SETTLE_S, REST_S = 20.0, 12.0
UP_S = 420.0
BYTES = 10_000


class Played:
    """A process that plays devices.

    Args:
        first: of its addresses, 127.0.0.x.
    """

    def __init__(self, gateway: str, roots: Path, keys: Path, first: int) -> None:
        self.notices, self._log = keys.with_suffix(".notices"), keys.with_suffix(".log")
        self.notices.touch()
        words = [PYTHON, HERE / "_idle_devices.py", gateway, roots, keys, self.notices, first]
        self._process: subprocess.Popen = start(words, self._log)
        self._said = 0
        self._line()

    def told(self) -> dict:
        """What happened since it was last asked."""
        self._process.send_signal(signal.SIGUSR1)
        return self._line()

    def _line(self) -> dict:
        end = time.monotonic() + 60
        while time.monotonic() < end and self._process.poll() is None:
            lines = [line for line in self._log.read_text().splitlines() if line.startswith("{")]
            if len(lines) > self._said:
                self._said += 1
                return json.loads(lines[self._said - 1])
            time.sleep(0.02)
        raise NotMeasuredError(f"the devices say nothing: {self._log.read_text()[-2000:]}")

    def nodes(self) -> list[int]:
        """Of the devices that have come online."""
        return [one["node"] for one in self._noticed() if "came" in one]

    def heard(self) -> list[dict]:
        """When each message was heard of, asked for, and there, so far."""
        return [one for one in self._noticed() if "there" in one]

    def _noticed(self) -> list[dict]:
        return [json.loads(line) for line in self.notices.read_text().splitlines()]

    def close(self) -> None:
        """The power goes."""
        self._process.kill()
        self._process.wait()


def idle(folder: Path) -> Iterator[Claim]:
    """All devices come online, wait, and some of them are asked for something now and then."""
    runs, keys = folder / "runs", folder / "keys.json"
    enter(runs, [f"pi-{number:04d}" for number in range(DEVICES)], keys)
    progress(f"{DEVICES} devices are enrolled")
    with servers(folder) as federation, ExitStack() as played:
        server = RunningServer.read(FederationHome(runs).server)
        used = Servers(server.pid)
        empty = used.rss_mb()
        roots, parts = FederationHome(runs).root, _parted(keys)
        watched, rest = (
            played.enter_context(closing(Played(federation.gateway, roots, *part))) for part in parts.items()
        )
        came = _all_here(watched, rest)
        first, here = _online_until(server), time.monotonic()
        time.sleep(SETTLE_S)
        with _grid(runs, server) as grid:
            nodes = watched.nodes()
            watched.told(), rest.told()
            before, begin = used.cpu(), time.monotonic()
            put, took = _asked(grid, nodes)
            time.sleep(REST_S)
            passed, after = time.monotonic() - begin, used.cpu()
            ours, others = watched.told(), rest.told()
        full = used.rss_mb()
        time.sleep(max(0.0, here + _due_s() - time.monotonic()))
        asked_at, online = time.time(), _online_until(server)
        heard = [_first(watched.heard(), *one) for one in put]
    share = {name: round((after[name] - before[name]) / passed, 3) for name in after}
    sent = Counter(ours["sent"]) + Counter(others["sent"])
    seen = {
        "devices": ours["here"] + others["here"],
        "window_s": round(passed),
        "came_online_s": round(came),
        "gateway_cores": share["gateway"],
        "asked_a_second": {name: round(count / passed, 1) for name, count in sent.items()},
        "connections": ours["connections"] + others["connections"],
    }
    text = f"processor time of the SuperLink while {DEVICES:,} devices are idle and {CHOSEN} at a time are asked"
    yield Claim("fleet_idle_superlink", text, share["superlink"], "cores", "<=", 0.5, detail=seen)

    waits = Samples([UP_S if one is None else one["there"] for one in heard])
    detail = {
        "until_the_ring_s": round(took.median, 3),
        "until_the_ring_most_s": round(max(took.values), 3),
        **_stages([one for one in heard if one is not None]),
        **{f"player_{name}": round(ours[name], 3) for name in ("late_p95_s", "late_s")},
        **{f"players_of_the_rest_{name}": round(others[name], 3) for name in ("late_p95_s", "late_s")},
    }
    spread = {**waits.spread, "median": round(waits.median, 3)}
    text = f"from before instructions are put for {CHOSEN} of them until a device has its own, 95th percentile"
    yield Claim("fleet_idle_notice", text, waits.quantile(0.95), "s", "<=", 2.0, spread=spread, detail=detail)

    text = "requests of the devices that were refused, or not answered"
    failed = Counter(ours["failed"]) + Counter(others["failed"])
    yield Claim("fleet_idle_failed", text, sum(failed.values()), "requests", "<=", 0, detail=dict(failed))

    text = "share of the devices of which the SuperLink heard again since all were there, by when each was due"
    kept = sum(until > max(asked_at, first.get(node, 0.0)) for node, until in online.items())
    watched = {"before": len(first), "watched_s": round(_due_s())}
    yield Claim("fleet_idle_online", text, kept / DEVICES, "share", ">=", 1.0, detail=watched)

    memory = {f"{name}_mb": round(full[name]) for name in full} | {"gateway_empty_mb": round(empty["gateway"])}
    each = 1000 * (full["gateway"] - empty["gateway"]) / DEVICES
    text = "resident memory of the gateway's process for one device more"
    yield Claim("fleet_idle_memory", text, each, "kB", "<=", 200, detail=memory)


def _parted(keys: Path) -> dict[Path, int]:
    """The keys of the devices that are watched, chosen by chance, and of the rest; the first address of each part."""
    made: dict[str, str] = json.loads(keys.read_text())
    chosen = set(random.Random(1).sample(sorted(made), WATCHED))
    parts = {keys.with_name("watched.json"): 10, keys.with_name("rest.json"): 20}
    for path, first in parts.items():
        path.touch(mode=0o600)
        path.write_text(json.dumps({name: key for name, key in made.items() if (name in chosen) == (first == 10)}))
    return parts


def _all_here(*played: Played) -> float:
    """Seconds until every device waits."""
    begin = time.monotonic()
    while time.monotonic() - begin < UP_S:
        time.sleep(5)
        said = [one.told() for one in played]
        here, failed = sum(one["here"] for one in said), sum((Counter(one["failed"]) for one in said), Counter())
        progress(f"{here} devices wait, {failed.total()} requests failed {dict(failed) or ''}")
        if here == DEVICES:
            return time.monotonic() - begin
    raise NotMeasuredError(f"{here} of {DEVICES} devices are here after {UP_S:.0f} s")


def _due_s() -> float:
    """Seconds within which each device must be heard of again: what the last that came has promised, and a wait."""
    return PROMISED_S + DEVICES / IdleLimits().beats_per_s + GatewayLimits().bell_s


def _online_until(server: RunningServer) -> dict[int, float]:
    """Until when the SuperLink takes each node for online if it hears no more of it, seconds since the epoch."""
    client = ControlHttpClient.from_server_address(
        server.addresses["superlink"], False, Path(server.superlink_authority).read_bytes(), []
    )
    with closing(client):
        listed = client.ListNodes(ListNodesRequest()).nodes_info
    return {node.node_id: node.online_until for node in listed if node.online_until}


@contextmanager
def _grid(runs: Path, server: RunningServer) -> Iterator[DrivenGrid]:
    authority, secret = Path(server.superlink_authority).read_bytes(), read_private(Path(server.superlink_secret))
    with tempfile.TemporaryDirectory() as private:
        app = write_bundle(Path(private), Components())
        bells, at = FederationHome(runs).bells, server.addresses["superlink"]
        with driven_run(at, authority, secret, app, largest=1 << 20, bells=bells) as (grid, _):
            yield grid


def _asked(grid: DrivenGrid, nodes: list[int]) -> tuple[list[tuple[int, float]], Samples]:
    """Put instructions for some nodes, several times.

    Returns which, with when that was begun (seconds since the epoch), and how long each time took until the ring.
    """
    chance, put, took = random.Random(0), [], []
    for _ in range(TIMES):
        some = chance.sample(nodes, CHOSEN)
        put += [(node, time.time()) for node in some]
        content = RecordDict({RECORD: ConfigRecord({"envelope": os.urandom(BYTES)})})
        grid.push_messages(Message(content, dst_node_id=node, message_type="train", ttl=60.0) for node in some)
        took.append(time.time() - put[-1][1])
        time.sleep(EVERY_S)
    return put, Samples(took)


def _first(heard: list[dict], node: int, since: float) -> dict[str, float] | None:
    """Seconds until the node heard the bell, asked, and had its message; None where it never had."""
    mine = [one for one in heard if one["node"] == node and one["there"] >= since]
    if not mine:
        return None
    one = min(mine, key=lambda one: one["there"])
    return {name: one[name] - since for name in ("heard", "asked", "there")}


def _stages(heard: list[dict[str, float]]) -> dict[str, float]:
    """Of those that had it, seconds until they heard the bell, and from when they asked: in the middle, and the 95th
    percentile. One that asked of itself, before it heard, asked at no time that says anything, and is left out.
    """
    rung = [one for one in heard if one["heard"] > 0]
    if not rung:
        return {}
    spans = {
        "until_heard": Samples([one["heard"] for one in rung]),
        "asking": Samples([one["there"] - one["asked"] for one in rung]),
    }
    return {
        f"{name}_{what}_s": round(value, 3)
        for name, one in spans.items()
        for what, value in (("median", one.median), ("p95", one.quantile(0.95)))
    }


if __name__ == "__main__":
    main("fleet", {"idle": idle}, versions("flwr", "starlette", "uvicorn", "uvloop", "cryptography"))

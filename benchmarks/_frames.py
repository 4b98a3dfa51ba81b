"""Frames of gRPC from a stranger or a faulty device, over mutual TLS, for the device service in a process of its own.

Four depths, a share of the inputs each: the *record* inside a message, the *message* inside a frame, the *frame* (flag,
length, message) inside a call, and all bytes of a *connection* (HTTP/2 from its preface on). The service answers each
with a code: ``skerry-reason``; or gRPC's own status, the code of a stream's reset, or that of a connection's end. What
is no HTTP/2 from its first bytes on has no room for a code: that connection is closed. One whose bytes stop in the
middle of something is waited for, by the server as by its client here.
"""

import base64
import itertools
import json
import random
import ssl
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from socket import IPPROTO_TCP, TCP_NODELAY, create_connection

import psutil
from _fuzzing import ACCEPTED, Tally, mutate
from _harness import Claim, NotMeasuredError, progress
from _http2 import PING, REFUSED_STREAM, Reader, Said, call, frame, message, opening
from _serving import serving
from google.protobuf.message import DecodeError, Message

from skerry.device.service import device_pb2 as pb

DEPTHS = ("record", "message", "frame", "connection")
_SHARES = (0.30, 0.30, 0.35, 0.05)
_AT_ONCE = 8  # of one connection, of which the server takes 16; some are open for longer than they are answered
_CONNECTIONS = 8
_REFUSALS = 100_000  # seconds of them
_PATIENCE_S = 0.25
_WAITED, _CLOSED = "waited for", "closed"
_GROWTH_MB = 64.0
_WARM = 4000


@dataclass(frozen=True)
class Method:
    """A call of the service and what is rightly sent to it; ``signed``: records that somebody signed or was given."""

    path: str
    form: type[Message]
    seeds: Sequence[Message]
    signed: frozenset[bytes] | None = None

    def accepted(self, sent: bytes) -> str:
        """What it means that these bytes were answered without a refusal.

        gRPC hands a frame whose flag it does not know on as an empty message.
        """
        if sent[:1] > b"\1" and self.form is pb.Nothing:
            return "as_said"
        length = int.from_bytes(sent[1:5], "big")
        if sent[:1] != b"\0" or len(sent) < 5 + length:
            return ACCEPTED
        try:
            read = self.form.FromString(sent[5 : 5 + length])
        except DecodeError:
            return ACCEPTED
        if self.signed is None:
            return "as_said"
        return "as_signed" if read.body in self.signed else ACCEPTED


class Service:
    """The running service, as its clients know it."""

    def __init__(self, folder: Path) -> None:
        known = json.loads((folder / "known.json").read_text(encoding="utf-8"))
        genuine = {name: base64.b64decode(record) for name, record in known["genuine"].items()}
        self._ports = {"Device": known["device"], "Enrolment": known["enrolment"]}
        self._tls = ssl.create_default_context(cafile=str(folder / "root.pem"))
        self._tls.load_cert_chain(folder / "device.pem", folder / "device.key")
        self._tls.set_alpn_protocols(["h2"])
        receipt, condition = pb.Receipt(kind="installed", body=bytes(100)), pb.Condition(activity=1, battery=4)
        self.methods = [
            *(_method("Enrolment", name, genuine[name]) for name in ("Challenge", "Enrol")),
            _method("Device", "Renew", genuine["Renew"]),
            Method("/skerry.device.v1.Device/Revocations", pb.Nothing, [pb.Nothing()]),
            Method("/skerry.device.v1.Device/SubmitReceipt", pb.Receipt, [receipt]),
            Method("/skerry.device.v1.Device/Telemetry", pb.Condition, [condition]),
            Method("/skerry.device.v1.Device/Fetch", pb.FetchRequest, [pb.FetchRequest(path="file", length=5)]),
        ]

    def connect(self, method: Method) -> ssl.SSLSocket:
        """A connection to the port that serves a method."""
        port = self._ports[method.path.split("/")[1].split(".")[-1]]
        plain = create_connection(("127.0.0.1", port), timeout=30)
        plain.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        return self._tls.wrap_socket(plain, server_hostname="127.0.0.1")

    def calls(self, method: Method, bodies: Sequence[bytes]) -> list[str]:
        """What was said of each call; all over one connection, so many at once."""
        said, left = [""] * len(bodies), list(reversed(range(len(bodies))))
        streams, waiting, refused = itertools.count(1, 2), dict[int, int](), 0
        with self.connect(method) as connection:
            connection.sendall(opening())
            reader = Reader(connection)
            while left or waiting:
                some = {next(streams): left.pop() for _ in range(min(len(left), _AT_ONCE - len(waiting)))}
                connection.sendall(b"".join(call(stream, method.path, bodies[one]) for stream, one in some.items()))
                waiting |= some
                if reader.goaway is not None or not reader.read():
                    raise NotMeasuredError(f"a connection of well-formed calls was ended: GOAWAY {reader.goaway}")
                for stream in [one for one in waiting if reader.said.get(one, Said()).ended]:
                    if reader.said[stream].reset == REFUSED_STREAM:  # not looked at: too many at once
                        left.append(waiting.pop(stream))
                        refused += 1
                        if refused > _REFUSALS:
                            raise NotMeasuredError("nothing but refusals: the server counts calls that ended")
                        continue
                    number, refused = waiting.pop(stream), 0
                    said[number] = _word(reader.said.pop(stream), method, bodies[number])
        return said

    def connection(self, method: Method, data: bytes) -> str:
        """What was said of a connection's bytes."""
        with self.connect(method) as connection:
            reader = Reader(connection)
            try:
                connection.sendall(data + frame(PING, 0, 0, b"mutation"))
                connection.settimeout(_PATIENCE_S)
                while reader.goaway is None and not any(said.ended for said in reader.said.values()) and reader.read():
                    pass
            except TimeoutError:
                return _WAITED
            except OSError:
                return _CLOSED
        for said in reader.said.values():
            if said.ended:
                return _word(said, method, message(method.seeds[0].SerializeToString()))
        return _CLOSED if reader.goaway is None else f"connection ended {reader.goaway}"


def frames(folder: Path, number: int, seed: int) -> Iterator[Claim]:
    """Feed so many inputs, and say what came of them and of the server's memory."""
    with serving("_frames_server.py", folder, ready=folder / "known.json") as process:
        service, server = Service(folder), psutil.Process(process.pid)
        feed(service, _WARM, seed + 1)  # threads are started, and buffers are as large as they get
        before = peak = server.memory_info().rss
        tally = Tally()
        for part in range(0, number, _WARM):
            feed(service, min(_WARM, number - part), seed + 2 + part, tally)
            peak = max(peak, server.memory_info().rss)
        for method in service.methods:
            (said,) = service.calls(method, [message(method.seeds[0].SerializeToString())])
            if said not in {"as_said", "as_signed", "too_many"}:  # as many receipts as are kept may be there
                tally.wrong.append(f"{method.path}: what is right is refused afterwards: {said}")
        if process.poll() is not None:
            tally.wrong.append(f"the server ended with code {process.returncode}")
    for one in tally.wrong[:10]:
        progress(f"WRONG: {one[:400]}")
    progress(f"gRPC: {tally.inputs} inputs, {len(tally.wrong)} wrong, {dict(tally.reasons)}")
    yield Claim(
        id="frames_wrong",
        text=f"of {tally.inputs} mutated and random inputs to the device service over mutual TLS, in records, "
        "messages, frames of gRPC and whole connections: calls accepted though nobody sent them or refused without a "
        "code, what is right and is refused afterwards",
        value=float(len(tally.wrong)),
        unit="inputs",
        op="<=",
        bar=0,
        detail=dict(tally.reasons.most_common()),
    )
    yield Claim(
        id="frames_memory",
        text=f"growth of the server's resident memory over them, after {_WARM} others",
        value=(peak - before) / 1e6,
        unit="MB",
        op="<=",
        bar=_GROWTH_MB,
    )


def feed(service: Service, number: int, seed: int, tally: Tally | None = None) -> Tally:
    """Mutate and send; everything but the order of answers follows from the seed."""
    chance, tally = random.Random(seed), tally or Tally()
    calls: dict[str, list[bytes]] = {method.path: [] for method in service.methods}
    connections: list[tuple[Method, bytes]] = []
    for _ in range(number):
        method, depth = chance.choice(service.methods), chance.choices(DEPTHS, _SHARES)[0]
        if depth == "connection":
            connections.append((method, mutate([_connection(method)], chance)))
        else:
            calls[method.path].append(_body(method, depth, chance))
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        answers = pool.map(lambda method: service.calls(method, calls[method.path]), service.methods)
        for method, said_of_each in zip(service.methods, answers, strict=True):
            for body, said in zip(calls[method.path], said_of_each, strict=True):
                _count(tally, method, said, body, within_call=True)
        said_of_each = pool.map(lambda one: service.connection(*one), connections)
        for (method, data), said in zip(connections, said_of_each, strict=True):
            _count(tally, method, said, data, within_call=False)
    return tally


def _method(service: str, name: str, record: bytes) -> Method:
    return Method(f"/skerry.device.v1.{service}/{name}", pb.Record, [pb.Record(body=record)], frozenset({record}))


def _connection(method: Method) -> bytes:
    return opening() + call(1, method.path, message(method.seeds[0].SerializeToString()))


def _body(method: Method, depth: str, chance: random.Random) -> bytes:
    """What is sent in the place of a call's frame."""
    whole = [one.SerializeToString() for one in method.seeds]
    if depth == "record" and method.form in {pb.Record, pb.Receipt}:
        inner = method.seeds[0]
        fields = {"kind": inner.kind} if method.form is pb.Receipt else {}
        return message(method.form(**fields, body=mutate([inner.body], chance)).SerializeToString())
    if depth == "frame":
        return mutate([message(one) for one in whole], chance)
    return message(mutate(whole, chance))


def _word(said: Said, method: Method, sent: bytes) -> str:
    if said.reset is not None and "grpc-status" not in said.fields:
        return f"stream reset {said.reset}"
    status = said.fields.get("grpc-status")
    if status == "0":
        return method.accepted(sent)
    return said.fields.get("skerry-reason") or f"gRPC status {status or said.fields.get(':status')}"


def _count(tally: Tally, method: Method, said: str, data: bytes, *, within_call: bool) -> None:
    tally.inputs += 1
    own = said.startswith(("gRPC status", "stream reset")) and not said.endswith("None")
    codes = {said} if own or (said and " " not in said and said != _CLOSED) else set()
    if not within_call:
        codes |= {_WAITED, _CLOSED} | ({said} if said.startswith("connection ended") else set())
    tally.count(method.path, frozenset(codes), said, data)

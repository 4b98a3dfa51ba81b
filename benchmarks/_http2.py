"""As much of HTTP/2 as it takes to send a gRPC server any bytes, and to read what it says of them.

Nothing here checks what is sent. Header blocks are written as literals and read without a dynamic table, which the
settings forbid the server to use. References: RFC 9113; RFC 7541; gRPC over HTTP/2.
"""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
REFUSED_STREAM = 7
_NO_TABLE, _WINDOW = (1).to_bytes(2, "big") + bytes(4), (4).to_bytes(2, "big") + (2**31 - 1).to_bytes(4, "big")
_FRAME = 1 << 14  # the longest that a server takes unless it says otherwise
_STATUSES = {8: "200", 9: "204", 10: "206", 11: "304", 12: "400", 13: "404", 14: "500"}


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame (RFC 9113, section 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def opening() -> bytes:
    """What a client begins with: no dynamic table, and windows that are never full here."""
    window = frame(WINDOW_UPDATE, 0, 0, (2**31 - 1 - 65535).to_bytes(4, "big"))
    return PREFACE + frame(SETTINGS, 0, 0, _NO_TABLE + _WINDOW) + window


def call(stream: int, method: str, body: bytes) -> bytes:
    """A call of gRPC: its headers, and bytes in the place of its length-prefixed message."""
    fields = {
        ":method": "POST",
        ":scheme": "https",
        ":path": method,
        ":authority": "127.0.0.1",
        "content-type": "application/grpc",
        "te": "trailers",
        "grpc-timeout": "20S",
    }
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())
    pieces = [body[at : at + _FRAME] for at in range(0, len(body), _FRAME)] or [b""]
    data = [frame(DATA, END_STREAM if piece is pieces[-1] else 0, stream, piece) for piece in pieces]
    return frame(HEADERS, END_HEADERS, stream, block) + b"".join(data)


def message(body: bytes) -> bytes:
    """A length-prefixed message of gRPC, not compressed."""
    return b"\0" + len(body).to_bytes(4, "big") + body


@dataclass
class Said:
    """What a server said of a stream, or of the connection (stream 0)."""

    ended: bool = False
    fields: dict[str, str] = field(default_factory=dict)
    reset: int | None = None


class Reader:
    """What comes over a connection, by stream; answers what must be answered."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection
        self._left = b""
        self.said: dict[int, Said] = {}
        self.goaway: int | None = None

    def read(self) -> bool:
        """Take in what is there, or wait for more; False when the server has closed."""
        data = self._connection.recv(1 << 16)
        self._left += data
        for kind, flags, stream, payload in self._frames():
            self._take(kind, flags, stream, payload)
        return bool(data)

    def _frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        while len(self._left) >= 9 and len(self._left) >= 9 + (size := int.from_bytes(self._left[:3], "big")):
            head, payload, self._left = self._left[3:9], self._left[9 : 9 + size], self._left[9 + size :]
            yield head[0], head[1], int.from_bytes(head[2:], "big"), payload

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        said = self.said.setdefault(stream, Said())
        match kind:
            case 1:
                said.fields |= _fields(payload)
                said.ended |= bool(flags & END_STREAM)
            case 0:
                said.ended |= bool(flags & END_STREAM)
            case 3:
                said.reset, said.ended = int.from_bytes(payload, "big"), True
            case 7:
                self.goaway = int.from_bytes(payload[4:8], "big")
            case 4 | 6 if not flags & ACK:
                self._connection.sendall(frame(kind, ACK, 0, payload if kind == PING else b""))


def _text(value: str) -> bytes:
    return _integer(len(value), 7, 0) + value.encode()


def _integer(value: int, bits: int, first: int) -> bytes:
    most = (1 << bits) - 1
    return bytes([first | value]) if value < most else bytes([first | most, value - most])  # less than 128 beyond


def _fields(block: bytes) -> dict[str, str]:
    """Fields of a header block whose names are literals, and the status."""
    found, at = {}, 0
    while at < len(block):
        if block[at] & 0x80:  # indexed: of ours only the status
            index, at = _read(block, at, 7)
            found |= {":status": _STATUSES[index]} if index in _STATUSES else {}
        elif block[at] & 0xE0 == 0x20:  # the dynamic table's size
            _, at = _read(block, at, 5)
        else:
            index, at = _read(block, at, 6 if block[at] & 0x40 else 4)
            name, at = (f"field {index}", at) if index else _string(block, at)
            found[name], at = _string(block, at)
    return found


def _string(block: bytes, at: int) -> tuple[str, int]:
    coded = block[at] & 0x80
    length, at = _read(block, at, 7)
    text = block[at : at + length]
    return (f"Huffman {text.hex()}" if coded else text.decode("ascii", "replace")), at + length


def _read(block: bytes, at: int, bits: int) -> tuple[int, int]:
    most = (1 << bits) - 1
    value, at = block[at] & most, at + 1
    if value < most:
        return value, at
    for shift in range(0, 28, 7):
        value += (block[at] & 0x7F) << shift
        at += 1
        if not block[at - 1] & 0x80:
            break
    return value, at

"""A message as bytes between processes of one run, quicker than Flower writes it where it carries nothing but bytes.

What coordinator and devices say to each other are envelopes: records of byte strings. Of these the fields themselves
are written, one after another behind a head that tells their names and lengths, so that each is copied once on each
side; Flower's own form, in which protocol buffers are filled and read field by field, takes five times as long.
Any other message, and an error, is written as Flower does.
"""

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import cbor2

from skerry.server.engines.flwr_adapter import internals, message_bytes, message_of

if TYPE_CHECKING:
    from flwr.app import Message

__all__ = ["framed", "unframed"]

_PLAIN, _FLOWERS = b"\x00", b"\x01"
_LENGTH = 4  # bytes that tell the length of the head


def framed(message: "Message") -> bytes:
    """A message with its metadata, content or error; what Flower cannot send raises what Flower raises."""
    fields = _fields(message) if message.has_content() else None
    if fields is None:
        return _FLOWERS + message_bytes(message)
    with internals("the metadata of a message"):
        told = message.metadata.__dict__
        if [*told] != _blank().told:
            return _FLOWERS + message_bytes(message)
        lengths = {name: {key: len(value) for key, value in values.items()} for name, values in fields.items()}
        head = cbor2.dumps([[*told.values()], lengths])
        parts = (value for values in fields.values() for value in values.values())
        return b"".join((_PLAIN, len(head).to_bytes(_LENGTH, "big"), head, *parts))


def unframed(data: bytes | memoryview) -> "Message":
    """The message of :func:`framed`; for bytes of our own."""
    if data[:1] == _FLOWERS:
        return message_of(bytes(data[1:]))
    with internals("what a message is made of"):
        blank = _blank()
        view, place = memoryview(data), 1 + _LENGTH
        after = place + int.from_bytes(view[1:place], "big")
        told, lengths = cbor2.loads(view[place:after])
        records: dict[str, Any] = {}
        for name, keys in lengths.items():
            values: dict[str, bytes] = {}
            for key, length in keys.items():  # their types were checked where they came from
                values[key] = bytes(view[after : after + length])
                after += length
            records[name] = _filled(blank.record, "_data", values)
        message: Message = _filled(blank.message, "_content", _filled(blank.content, "_data", records))
        metadata = message.__dict__["_metadata"] = _filled(blank.metadata, "_message_id", "")
        metadata.__dict__.update(zip(blank.told, told, strict=True))
        return message


class _Blank(NamedTuple):
    """A message and its parts, to be filled without the checks of what is given by hand, and its metadata's names."""

    message: Any
    metadata: Any
    content: Any
    record: Any
    told: list[str]


@functools.cache
def _blank() -> _Blank:
    from flwr.app import ConfigRecord, RecordDict
    from flwr.app.message.message import make_message
    from flwr.app.metadata import Metadata

    metadata, content, record = Metadata(0, "", 0, 0, "", "", 0.0, 0.0, "train"), RecordDict(), ConfigRecord()
    message = make_message(metadata, content)
    for part, name in ((message, "_metadata"), (message, "_content"), (content, "_data"), (record, "_data")):
        part.__dict__[name]  # gone: KeyError, and we say so
    return _Blank(message, metadata, content, record, [*metadata.__dict__])


def _filled(blank: Any, name: str, value: Any) -> Any:
    """Another object of its class, with this attribute in the place of its own."""
    made = object.__new__(type(blank))
    made.__dict__.update(blank.__dict__)
    made.__dict__[name] = value
    return made


def _fields(message: "Message") -> dict[str, dict[str, bytes]] | None:
    """Its records, if all of them hold byte strings alone."""
    from flwr.app import ConfigRecord

    fields: dict[str, dict[str, Any]] = {}
    for name, record in message.content.items():
        if type(record) is not ConfigRecord:
            return None
        fields[name] = dict(record.items())
        if any(type(value) is not bytes for value in fields[name].values()):
            return None
    return fields

"""Which operations an ONNX file has, read without the ``onnx`` package, and which of them a device runs on its data.

The rows of one example must depend on that example alone: differential privacy of what is trained on them rests on it.
Examples are run one by one, so an operation that computes from its input can break this no more; one that draws random
numbers can (what it draws depends on how many examples came before), and one that reads a file brings in what the
model's digest does not name. One that fails on some values and not on others would tell which the example has: integers
can be divided by zero. So a device runs the operations that skerry's own export writes, and refuses all others; of
``Cast`` those to float32 only, and what ``QuantizeLinear`` gives is read by ``DequantizeLinear`` only. So no integer
that is computed from an example is divided.

A file is a protocol buffer; five of its messages are looked at:

::

    ModelProto     graph = 7, functions = 25
    GraphProto     node = 1, initializer = 5, sparse_initializer = 15
    NodeProto      input = 1, output = 2, op_type = 4, attribute = 5, domain = 7
    AttributeProto name = 1, i = 3, t = 5, g = 6, tensors = 10, graphs = 11
    TensorProto    external_data = 13, data_location = 14

It must not be read in another way here than by the runtime. So all of a field's values are looked at where it should
stand once, and what parsers may disagree about is refused: groups, keys beyond 32 bits, values of another kind than
the field's.
"""

from collections.abc import Iterator

from skerry.errors import RefusedError

__all__ = ["ALLOWED", "check_operations", "operations"]

ALLOWED = frozenset(
    {
        "Add", "AveragePool", "Cast", "Clip", "Conv", "DequantizeLinear", "Div", "Flatten", "Gemm", "GlobalAveragePool",
        "HardSigmoid", "HardSwish", "Max", "Mul", "QuantizeLinear", "ReduceL2",
    }
)  # fmt: skip
"""What :mod:`skerry.device.compression.onnx_export` writes: each computes from its input and its constants."""

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_LONGEST_VARINT = 10
_FLOAT = 1  # of TensorProto.DataType
_NAMED, _LONGEST_NAME = 10, 60  # what a message tells of the operations that are not run
_KEYS = 2**32  # onnxruntime keeps 32 bits of a key: beyond them it sees another field than is written


class _MalformedError(Exception):
    """The bytes are no protocol buffer."""


def check_operations(model: bytes, where: str) -> None:
    """Refuse a model with anything but :data:`ALLOWED` operations on constants of its own.

    Args:
        model: an ONNX file.
        where: its name, for the message.

    Raises:
        RefusedError: another operation, or the bytes are no ONNX file (``layer_refused``).
    """
    try:
        found = operations(model)
    except _MalformedError as error:
        raise RefusedError("layer_refused", "this is no ONNX file", where=where) from error
    if strange := sorted(found - ALLOWED):
        named = ", ".join(name[:_LONGEST_NAME] for name in strange[:_NAMED])
        others = f" and {len(strange) - _NAMED} more" if len(strange) > _NAMED else ""
        raise RefusedError(
            "layer_refused",
            f"this device does not run {named}{others} on its data",
            where=where,
            mend="build the base with skerry: its export writes none of these",
        )


def operations(model: bytes) -> frozenset[str]:
    """Names of a model's operations, ``domain::name`` for those that ONNX itself does not define.

    Nested graphs, functions, and constants in other files count as operations ``(graph)``, ``(function)`` and
    ``(external data)``, a ``Cast`` to anything but float32 as ``Cast (not to float32)``, and whatever reads rounded
    numbers but to make them floats again as ``(integer arithmetic)``.
    """
    found: set[str] = set()
    for number, part in _fields(memoryview(model)):
        if number == 7:
            found.update(_of_graph(_message(part)))
        elif number == 25:
            found.add("(function)")
    if _computes_with_integers(memoryview(model)):
        found.add("(integer arithmetic)")
    return frozenset(found)


def _computes_with_integers(model: memoryview) -> bool:
    """Whether anything but DequantizeLinear reads what a QuantizeLinear gives."""
    given: set[bytes] = set()
    read: set[bytes] = set()
    graphs = [_message(part) for number, part in _fields(model) if number == 7]
    for node in (_message(part) for graph in graphs for number, part in _fields(graph) if number == 1):
        fields = {wanted: {bytes(_message(p)) for n, p in _fields(node) if n == wanted} for wanted in (1, 2, 4)}
        inputs, outputs, names = fields.values()
        if b"QuantizeLinear" in names:
            given |= outputs
        if names != {b"DequantizeLinear"}:
            read |= inputs
    return not given.isdisjoint(read)


def _of_graph(graph: memoryview) -> Iterator[str]:
    for number, part in _fields(graph):
        if number == 1:
            yield from _of_node(_message(part))
        elif number == 5:
            yield from _of_tensor(_message(part))
        elif number == 15:
            yield "(sparse constant)"


def _of_node(node: memoryview) -> Iterator[str]:
    names, domains, attributes = [], [""], []
    for number, part in _fields(node):
        if number == 4:
            names.append(_text(part))
        elif number == 7:
            domains.append(_text(part))
        elif number == 5:
            attributes.append(_message(part))
            yield from _of_attribute(attributes[-1])
    foreign = next((domain for domain in domains if domain not in {"", "ai.onnx"}), None)
    for name in names:
        yield name if foreign is None else f"{foreign}::{name}"
    if "Cast" in names and not (attributes and all(_is_to_float(one) for one in attributes)):
        yield "Cast (not to float32)"


def _is_to_float(attribute: memoryview) -> bool:
    """Whether it says ``to = FLOAT``, once or several times, and nothing else."""
    names = {_text(part) for number, part in _fields(attribute) if number == 1}
    integers = {_integer(part) for number, part in _fields(attribute) if number == 3}
    return names == {"to"} and integers == {_FLOAT}


def _of_attribute(attribute: memoryview) -> Iterator[str]:
    for number, part in _fields(attribute):
        if number in {6, 11}:
            yield "(graph)"
        elif number in {5, 10}:
            yield from _of_tensor(_message(part))


def _of_tensor(tensor: memoryview) -> Iterator[str]:
    if any(number == 13 or (number == 14 and part != 0) for number, part in _fields(tensor)):
        yield "(external data)"


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Field numbers of a message with their values: a number, or bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if number == 0 or key >= _KEYS:
            raise _MalformedError
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in {_EIGHT_BYTES, _FOUR_BYTES}:
            size = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise _MalformedError
        if at + size > len(message):
            raise _MalformedError
        yield number, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for i, byte in enumerate(message[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise _MalformedError


def _message(part: memoryview | int) -> memoryview:
    if isinstance(part, int):
        raise _MalformedError
    return part


def _integer(part: memoryview | int) -> int:
    if not isinstance(part, int):
        raise _MalformedError
    return part


def _text(part: memoryview | int) -> str:
    return bytes(_message(part)).decode(errors="replace")

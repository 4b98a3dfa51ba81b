/**
 * Which operations an ONNX file has, and whether a device runs them on its data: `device/runtime/operations.py`, which
 * says why each is refused. Read here from the same bytes in the same way: all of a field's values are looked at.
 */

import type { Bytes } from "../bytes.ts";
import { RefusedError } from "../errors.ts";

const ALLOWED = new Set(
  (
    "Add AveragePool Cast Clip Conv DequantizeLinear Div Flatten Gemm GlobalAveragePool HardSigmoid HardSwish Max Mul " +
    "QuantizeLinear ReduceL2"
  ).split(" "),
);
const KEYS = 2 ** 32;
const FLOAT = 1n;

type Field = readonly [number, Bytes | bigint];

class MalformedError extends Error {}

/** Refuses a model with anything but allowed operations on constants of its own. @throws RefusedError `layer_refused` */
export function checkOperations(model: Bytes): void {
  let found: Set<string>;
  try {
    found = operations(model);
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error;
    throw new RefusedError("layer_refused", "this is no ONNX file");
  }
  const strange = [...found].filter((name) => !ALLOWED.has(name)).sort();
  if (strange.length > 0) {
    const named = strange.slice(0, 10).map((name) => name.slice(0, 60));
    throw new RefusedError("layer_refused", `this phone does not run ${named.join(", ")} on its data`);
  }
}

/** Names of operations; what is refused for another reason than its name is named in brackets. */
export function operations(model: Bytes): Set<string> {
  const found = new Set<string>();
  const graphs = messages(model, 7);
  for (const graph of graphs) ofGraph(graph, found);
  if (fields(model).some(([number]) => number === 25)) found.add("(function)");
  if (computesWithIntegers(graphs)) found.add("(integer arithmetic)");
  return found;
}

/** Whether anything but DequantizeLinear reads what a QuantizeLinear gives. */
function computesWithIntegers(graphs: readonly Bytes[]): boolean {
  const [given, read] = [new Set<string>(), new Set<string>()];
  for (const node of graphs.flatMap((graph) => messages(graph, 1))) {
    const names = new Set(messages(node, 4).map(text));
    if (names.has("QuantizeLinear")) for (const output of messages(node, 2)) given.add(text(output));
    const reads = [...names].join() !== "DequantizeLinear";
    if (reads) for (const input of messages(node, 1)) read.add(text(input));
  }
  return [...given].some((name) => read.has(name));
}

function ofGraph(graph: Bytes, found: Set<string>): void {
  for (const [number, part] of fields(graph)) {
    if (number === 1) ofNode(message(part), found);
    else if (number === 5) ofTensor(message(part), found);
    else if (number === 15) found.add("(sparse constant)");
  }
}

function ofNode(node: Bytes, found: Set<string>): void {
  const names = messages(node, 4).map(text);
  const attributes = messages(node, 5);
  const foreign = messages(node, 7)
    .map(text)
    .find((domain) => domain !== "" && domain !== "ai.onnx");
  for (const name of names) found.add(foreign === undefined ? name : `${foreign}::${name}`);
  for (const attribute of attributes) {
    for (const [number, part] of fields(attribute)) {
      if (number === 6 || number === 11) found.add("(graph)");
      else if (number === 5 || number === 10) ofTensor(message(part), found);
    }
  }
  if (names.includes("Cast") && !(attributes.length > 0 && attributes.every(isToFloat))) {
    found.add("Cast (not to float32)");
  }
}

/** Whether it says `to = FLOAT`, once or several times, and nothing else. */
function isToFloat(attribute: Bytes): boolean {
  const names = messages(attribute, 1).map(text);
  const integers = fields(attribute)
    .filter(([number]) => number === 3)
    .map(([, part]) => {
      if (typeof part !== "bigint") throw new MalformedError();
      return part;
    });
  const all = (values: readonly unknown[], wanted: unknown): boolean =>
    values.length > 0 && values.every((value) => value === wanted);
  return all(names, "to") && all(integers, FLOAT);
}

function ofTensor(tensor: Bytes, found: Set<string>): void {
  if (fields(tensor).some(([number, part]) => number === 13 || (number === 14 && part !== 0n))) {
    found.add("(external data)");
  }
}

function messages(within: Bytes, wanted: number): Bytes[] {
  return fields(within)
    .filter(([number]) => number === wanted)
    .map(([, part]) => message(part));
}

function message(part: Bytes | bigint): Bytes {
  if (typeof part === "bigint") throw new MalformedError();
  return part;
}

function text(data: Bytes): string {
  return new TextDecoder().decode(data);
}

function fields(data: Bytes): Field[] {
  const found: Field[] = [];
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let i = 0; i < 10; i++) {
      const byte = data[at++];
      if (byte === undefined) break;
      value |= BigInt(byte & 0x7f) << BigInt(7 * i);
      if (byte < 0x80) return value;
    }
    throw new MalformedError();
  };
  while (at < data.length) {
    const key = Number(varint());
    const [number, kind] = [Math.floor(key / 8), key % 8];
    if (number === 0 || key >= KEYS) throw new MalformedError();
    if (kind === 0) {
      found.push([number, varint()]);
      continue;
    }
    const size = kind === 2 ? Number(varint()) : kind === 1 ? 8 : kind === 5 ? 4 : Infinity;
    if (at + size > data.length) throw new MalformedError();
    found.push([number, data.subarray(at, at + size)]);
    at += size;
  }
  return found;
}

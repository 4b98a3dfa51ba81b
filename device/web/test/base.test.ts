/** Of an ONNX file's operations only the known ones pass; a guess takes nothing away from a download. */

import "fake-indexeddb/auto";
import { sha256 } from "@noble/hashes/sha2.js";
import { describe, expect, it } from "vitest";
import { CallFailedError, type Answer } from "../src/agent/line.ts";
import { concat, toHex, utf8, type Bytes } from "../src/bytes.ts";
import { Bases } from "../src/delivery/base.ts";
import { checkOperations, operations } from "../src/delivery/operations.ts";
import { RefusedError } from "../src/errors.ts";
import { CLASSES, INPUT_SHAPE } from "../src/preparation/digits.ts";
import { Database } from "../src/storage/database.ts";

/** A field of a message of Protocol Buffers: bytes, or a number. */
function field(number: number, value: Uint8Array | number | string): Bytes {
  if (typeof value === "number") return concat([varint(8 * number), varint(value)]);
  const content = typeof value === "string" ? utf8(value) : value;
  return concat([varint(8 * number + 2), varint(content.length), content]);
}

function varint(value: number): Bytes {
  const digits: number[] = [];
  for (let left = value; ; left = Math.floor(left / 128)) {
    if (left < 128) return Uint8Array.from([...digits, left]);
    digits.push(128 + (left % 128));
  }
}

/** An ONNX model of one graph with these parts. */
const model = (...parts: readonly Bytes[]): Bytes => field(7, concat(parts));
/** A node: operation, inputs, outputs, and whatever else. */
const node = (name: string, inputs = ["x"], outputs = ["y"], ...more: readonly Bytes[]): Bytes =>
  field(
    1,
    concat([...inputs.map((one) => field(1, one)), ...outputs.map((one) => field(2, one)), field(4, name), ...more]),
  );
const cast = (to: number): Bytes => node("Cast", ["x"], ["y"], field(5, concat([field(1, "to"), field(3, to)])));

describe("a base's operations", () => {
  it("are taken where all are known, on constants of its own", () => {
    const good = model(
      node("QuantizeLinear", ["x"], ["q"]),
      node("DequantizeLinear", ["q"], ["d"]),
      node("Conv", ["d"], ["c"], field(7, "ai.onnx")),
      cast(1),
      field(5, field(9, new Uint8Array(4))),
    );
    expect([...operations(good)].sort()).toEqual(["Cast", "Conv", "DequantizeLinear", "QuantizeLinear"]);
    expect(() => {
      checkOperations(good);
    }).not.toThrow();
  });

  it.each<[string, Bytes]>([
    ["Loop", model(node("Conv"), node("Loop"))],
    ["evil::Conv", model(node("Conv", ["x"], ["y"], field(7, "evil")))],
    ["(function)", concat([model(node("Conv")), field(25, new Uint8Array())])],
    ["(integer arithmetic)", model(node("QuantizeLinear", ["x"], ["q"]), node("Conv", ["q"], ["c"]))],
    ["(sparse constant)", model(node("Conv"), field(15, new Uint8Array()))],
    ["(graph)", model(node("Conv", ["x"], ["y"], field(5, field(6, new Uint8Array()))))],
    ["(external data)", model(field(5, field(13, new Uint8Array())))],
    ["(external data)", model(node("Conv", ["x"], ["y"], field(5, field(5, field(14, 1)))))],
    ["Cast (not to float32)", model(cast(7))],
    ["Cast (not to float32)", model(node("Cast"))],
    ["If", concat([model(node("Conv")), model(node("If"))])], // a second graph, which another reader may take
    ["no ONNX", Uint8Array.of(0x3a, 0x7f, 1)],
  ])("with %s are refused", (what, bytes) => {
    const refused = expect(() => {
      checkOperations(bytes);
    });
    refused.toThrow(RefusedError);
    expect(() => {
      checkOperations(bytes);
    }).toThrow(what);
  });
});

const FACTS = {
  ...{ schema: 3, architecture: "efficientnet_lite0", bits: 8, blocks: 11, grid: 2, components: 256 },
  ...{ input_shape: [...INPUT_SHAPE], classes: [...CLASSES] },
  ...{ bias: 1, longest_row: 1, step: 0 },
};

/** A small base as a gateway has it: files by path. */
function built(scale: number): { digest: string; files: Map<string, Bytes> } {
  const tensors: [string, string, number[], Bytes][] = [
    ["mean", "F32", [2], bytesOf(new Float32Array(2))],
    ["values", "I8", [2, 2], Uint8Array.of(1, 0, 0, 1)],
    ["scale", "F32", [2], bytesOf(Float32Array.of(scale, scale))],
    ["initial", "F32", [10, 3], bytesOf(new Float32Array(30))],
  ];
  let at = 0;
  const named = tensors.map(([name, dtype, shape, data]) => {
    const begins = at;
    at += data.length;
    return [name, { dtype, shape, data_offsets: [begins, at] }] as const;
  });
  const header = utf8(JSON.stringify(Object.fromEntries(named)));
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(header.length), true);
  const head = concat([length, header, ...tensors.map(([, , , data]) => data)]);
  const network = model(node("Conv"));
  const files = { "head.safetensors": toHex(sha256(head)), "base.int8.onnx": toHex(sha256(network)) };
  const manifest = utf8(JSON.stringify({ ...FACTS, files }));
  const digest = toHex(sha256(manifest));
  const entries: [string, Bytes][] = [
    ["base.json", manifest],
    ["head.safetensors", head],
    ["base.int8.onnx", network],
  ];
  return { digest, files: new Map(entries.map(([name, data]) => [`/v1/repository/bases/${digest}/${name}`, data])) };
}

function bytesOf(values: Float32Array<ArrayBuffer>): Bytes {
  return new Uint8Array(values.buffer);
}

function gateway(...bases: readonly ReturnType<typeof built>[]): (path: string) => Promise<Answer> {
  return (path) => {
    const content = bases.flatMap(({ files }) => files.get(path) ?? [])[0] ?? new Uint8Array();
    const range = `bytes 0-${content.length - 1}/${content.length}`;
    return Promise.resolve({ status: 206, headers: new Headers({ "content-range": range }), content });
  };
}

const silent = (): void => undefined;

it("a guess by an older base takes nothing away from the download of a newer one", async () => {
  const database = await Database.open("bases");
  const [older, newer] = [built(1), built(2)];
  const get = gateway(older, newer);
  await new Bases(database).load(older.digest, get, silent);
  const bases = new Bases(database); // the page was loaded again
  const broken = (path: string): Promise<Answer> =>
    path.endsWith(".onnx") ? Promise.reject(new CallFailedError("unreachable", "broken off")) : get(path);
  await expect(bases.load(newer.digest, broken, silent)).rejects.toThrow("broken off");
  const before = await database.keys("files");
  expect((await bases.here(older.digest))?.digest).toBe(older.digest);
  expect(await database.keys("files")).toEqual(before);
  expect((await bases.load(newer.digest, get, silent)).digest).toBe(newer.digest);
  const left = (await database.keys("files")).filter((key) => !String(key).startsWith(newer.digest));
  expect(left).toEqual([]);
});

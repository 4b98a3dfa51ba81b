/** Tensors of a safetensors file (github.com/huggingface/safetensors, "Format"), of the two types that a head file has. */

import { fromUtf8, type Bytes } from "../bytes.ts";
import { InputError } from "../errors.ts";

const LONGEST_HEADER = 1 << 20;

/** `values` in C order. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly values: Float32Array | Int8Array;
}

/** @throws InputError when it is no such file, or holds other types. */
export function readTensors(data: Bytes): Map<string, Tensor> {
  const { said: all, start } = headerOf(data);
  const found = new Map<string, Tensor>();
  for (const [name, said] of Object.entries(all)) {
    if (name === "__metadata__") continue;
    const {
      dtype,
      shape,
      data_offsets: offsets,
    } = said as { dtype?: unknown; shape?: unknown; data_offsets?: unknown };
    if (!areCounts(shape) || !areCounts(offsets)) throw refused();
    const [first = 0, last = 0] = offsets;
    const size = shape.reduce((product, side) => product * side, 1);
    const bytes = dtype === "F32" ? 4 : dtype === "I8" ? 1 : NaN;
    if (last - first !== size * bytes || start + last > data.length) throw refused();
    const own = data.slice(start + first, start + last); // aligned
    found.set(name, { shape, values: bytes === 4 ? new Float32Array(own.buffer) : new Int8Array(own.buffer) });
  }
  return found;
}

/** What a file says of itself, texts by name. @throws InputError when it is no such file. */
export function metadataOf(data: Bytes): Map<string, string> {
  const said = (headerOf(data).said as { readonly __metadata__?: unknown }).__metadata__;
  if (typeof said !== "object" || said === null) return new Map();
  return new Map(Object.entries(said).filter((one): one is [string, string] => typeof one[1] === "string"));
}

/** The header, and where the numbers begin. */
function headerOf(data: Bytes): { said: object; start: number } {
  if (data.length < 8) throw refused();
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const length = Number(view.getBigUint64(0, true));
  if (length > LONGEST_HEADER || 8 + length > data.length) throw refused();
  return { said: header(data.subarray(8, 8 + length)), start: 8 + length };
}

function header(data: Bytes): object {
  try {
    const found: unknown = JSON.parse(fromUtf8(data));
    if (typeof found === "object" && found !== null) return found;
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
  }
  throw refused();
}

function areCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((one) => Number.isSafeInteger(one) && (one as number) >= 0);
}

function refused(): InputError {
  return new InputError("the whitening and the first head cannot be read");
}

/** Deterministic CBOR (RFC 8949, section 4.2), as `core/canonical.py` writes it. */

import { concat, fromHex, utf8, type Bytes } from "../bytes.ts";
import { InputError } from "../errors.ts";
import { floatBytes } from "./floats.ts";
import { Float, type CborValue } from "./value.ts";

const LARGEST = (1n << 64n) - 1n;

/**
 * Canonical bytes of a value.
 *
 * @throws InputError for a number that is no safe integer (wrap floats in `Float`), or a text with half a surrogate.
 */
export function encode(value: CborValue): Bytes {
  const parts: Uint8Array[] = [];
  write(value, parts);
  return concat(parts);
}

function write(value: CborValue, out: Uint8Array[]): void {
  if (value === null) out.push(Uint8Array.of(0xf6));
  else if (typeof value === "boolean") out.push(Uint8Array.of(value ? 0xf5 : 0xf4));
  else if (typeof value === "number") writeInteger(checked(value), out);
  else if (typeof value === "bigint") writeInteger(value, out);
  else if (typeof value === "string") writeText(value, out);
  else if (value instanceof Float) out.push(floatBytes(value.value));
  else if (value instanceof Uint8Array) out.push(head(2, BigInt(value.length)), value);
  else if (Array.isArray(value)) {
    out.push(head(4, BigInt(value.length)));
    for (const item of value) write(item, out);
  } else {
    out.push(head(5, BigInt(value.size)));
    for (const [key, item] of [...value].map(([k, v]) => [text(k), v] as const).sort(([a], [b]) => compare(a, b))) {
      out.push(key);
      write(item, out);
    }
  }
}

function checked(value: number): bigint {
  if (!Number.isSafeInteger(value) || Object.is(value, -0)) {
    throw new InputError(`${value} is no whole number that is held exactly`, "wrap a float in Float");
  }
  return BigInt(value);
}

function writeInteger(value: bigint, out: Uint8Array[]): void {
  const size = value < 0n ? -1n - value : value;
  if (size <= LARGEST) {
    out.push(head(value < 0n ? 1 : 0, size));
    return;
  }
  const digits = size.toString(16);
  const bytes = fromHex(digits.length % 2 ? `0${digits}` : digits) ?? new Uint8Array();
  out.push(head(6, value < 0n ? 3n : 2n), head(2, BigInt(bytes.length)), bytes);
}

function writeText(value: string, out: Uint8Array[]): void {
  out.push(text(value));
}

function text(value: string): Bytes {
  if (!value.isWellFormed()) throw new InputError("a text holds half a surrogate pair");
  const bytes = utf8(value);
  return concat([head(3, BigInt(bytes.length)), bytes]);
}

/** Order of encoded keys: the shorter first, else the smaller. */
export function compare(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) return a.length - b.length;
  for (let i = 0; i < a.length; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function head(major: number, size: bigint): Bytes {
  const first = major << 5;
  if (size < 24n) return Uint8Array.of(first | Number(size));
  if (size < 1n << 8n) return Uint8Array.of(first | 24, Number(size));
  const length = size < 1n << 16n ? 2 : size < 1n << 32n ? 4 : 8;
  const out = new Uint8Array(1 + length);
  out[0] = first | (length === 2 ? 25 : length === 4 ? 26 : 27);
  for (let i = 0; i < length; i++) out[length - i] = Number((size >> BigInt(8 * i)) & 0xffn);
  return out;
}

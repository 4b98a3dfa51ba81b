/**
 * Strict reading of canonical CBOR: bytes that are not the encoding of their own value are refused, so that no two
 * encodings of one value both verify. Work and memory are linear in the length; byte strings are views, not copies.
 *
 * Narrower than `core/canonical.py` where no record of ours goes: keys are text, and the simple values other than
 * false, true and null are refused.
 */

import { fromUtf8, toHex, type Bytes } from "../bytes.ts";
import { InputError } from "../errors.ts";
import { compare } from "./encode.ts";
import { floatBytes, fromHalf } from "./floats.ts";
import { Float, type CborMap, type CborValue } from "./value.ts";

const DEEPEST = 64;
const MEND = "the sender must encode canonically";

/**
 * The value of canonical CBOR bytes.
 *
 * @param deepest how many lists and maps may stand in one another.
 * @param bigIntegers whether whole numbers beyond 64 bits (tags 2 and 3) are read; no other tag is.
 * @throws InputError for anything else.
 */
export function decode(data: Bytes, { deepest = DEEPEST, bigIntegers = true } = {}): CborValue {
  const reader = new Reader(data, bigIntegers);
  const value = reader.value(deepest);
  if (reader.at !== data.length) throw refused("has a tail");
  return value;
}

function refused(what: string): InputError {
  return new InputError(`bytes are not canonical CBOR: ${what}`, MEND);
}

class Reader {
  at = 0;
  readonly #view: DataView;

  constructor(
    readonly data: Bytes,
    readonly bigIntegers: boolean,
  ) {
    this.#view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  value(deeper: number): CborValue {
    const first = this.#byte();
    const major = first >> 5;
    if (major === 7) return this.#simple(first & 0x1f);
    const size = this.#size(first & 0x1f);
    switch (major) {
      case 0:
        return small(size);
      case 1:
        return small(-1n - size);
      case 2:
        return this.#bytes(size);
      case 3:
        return this.#text(size);
      case 4:
        return this.#list(size, deeper);
      case 5:
        return this.#map(size, deeper);
      default:
        return this.#bigInteger(size);
    }
  }

  #byte(): number {
    const byte = this.data[this.at++];
    if (byte === undefined) throw refused("ends early");
    return byte;
  }

  #room(length: number): number {
    const start = this.at;
    if (length > this.data.length - start) throw refused("ends early");
    this.at += length;
    return start;
  }

  #size(info: number): bigint {
    if (info < 24) return BigInt(info);
    if (info > 27) throw refused("a length without end");
    const at = this.#room(2 ** (info - 24));
    const size =
      info === 24
        ? BigInt(this.#view.getUint8(at))
        : info === 25
          ? BigInt(this.#view.getUint16(at))
          : info === 26
            ? BigInt(this.#view.getUint32(at))
            : this.#view.getBigUint64(at);
    const least = [24n, 1n << 8n, 1n << 16n, 1n << 32n][info - 24] ?? 0n;
    if (size < least) throw refused("a number in more bytes than it needs");
    return size;
  }

  #bytes(size: bigint): Bytes {
    if (size > BigInt(this.data.length)) throw refused("ends early");
    const start = this.#room(Number(size));
    return this.data.subarray(start, this.at);
  }

  #text(size: bigint): string {
    try {
      return fromUtf8(this.#bytes(size));
    } catch (error) {
      if (error instanceof TypeError) throw refused("a text that is not UTF-8");
      throw error;
    }
  }

  #list(size: bigint, deeper: number): CborValue[] {
    if (deeper < 1) throw refused("too deep");
    if (size > BigInt(this.data.length)) throw refused("ends early");
    const items: CborValue[] = [];
    for (let i = 0; i < Number(size); i++) items.push(this.value(deeper - 1));
    return items;
  }

  #map(size: bigint, deeper: number): CborMap {
    if (deeper < 1) throw refused("too deep");
    if (size > BigInt(this.data.length)) throw refused("ends early");
    const items: CborMap = new Map();
    let before: Uint8Array | undefined;
    for (let i = 0; i < Number(size); i++) {
      const start = this.at;
      const key = this.value(0);
      if (typeof key !== "string") throw refused("a key that is no text");
      const encoded = this.data.subarray(start, this.at);
      if (before !== undefined && compare(before, encoded) >= 0) throw refused("keys out of order");
      before = encoded;
      items.set(key, this.value(deeper - 1));
    }
    return items;
  }

  #bigInteger(tag: bigint): bigint {
    if (!this.bigIntegers || (tag !== 2n && tag !== 3n)) throw refused("a tag");
    const first = this.#byte();
    if (first >> 5 !== 2) throw refused("a big number that is no byte string");
    const bytes = this.#bytes(this.#size(first & 0x1f));
    if (bytes.length < 9 || bytes[0] === 0) throw refused("a big number that is not big");
    const size = BigInt(`0x${toHex(bytes)}`);
    return tag === 2n ? size : -1n - size;
  }

  #simple(info: number): CborValue {
    if (info === 20) return false;
    if (info === 21) return true;
    if (info === 22) return null;
    if (info < 25 || info > 27) throw refused("a simple value that no record holds");
    const length = 2 ** (info - 24);
    const at = this.#room(length);
    const value =
      length === 2
        ? fromHalf(this.#view.getUint16(at))
        : length === 4
          ? this.#view.getFloat32(at)
          : this.#view.getFloat64(at);
    if (compare(floatBytes(value), this.data.subarray(at - 1, at + length)) !== 0) {
      throw refused("a float in more bytes than it needs");
    }
    return new Float(value);
  }
}

function small(value: bigint): number | bigint {
  return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
}

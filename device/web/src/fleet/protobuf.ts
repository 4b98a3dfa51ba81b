/**
 * Protocol Buffers' wire format (protobuf.dev/programming-guides/encoding), as much as a dozen small messages need: a
 * library with its reflection would weigh more than everything else here. Fields are written in the order of the calls.
 */

import { concat, fromUtf8, utf8, type Bytes } from "../bytes.ts";
import { InputError } from "../errors.ts";

const VARINT = 0;
const FIXED64 = 1;
const LENGTH = 2;
const FIXED32 = 5;
const WORD = (1n << 64n) - 1n;

/** Writes one message. As in proto3, a value that is the default is left out; `always` writes it (optional fields). */
export class Writer {
  readonly #parts: Uint8Array[] = [];

  uint64(field: number, value: bigint, always = false): this {
    return value !== 0n || always ? this.#put(field, VARINT, varint(value)) : this;
  }

  /** Whole numbers in zigzag. */
  sint64(field: number, value: bigint): this {
    return this.uint64(field, ((value << 1n) ^ (value >> 63n)) & WORD);
  }

  double(field: number, value: number): this {
    return value !== 0 ? this.#put(field, FIXED64, doubleBytes(value)) : this;
  }

  /** A repeated field of doubles, packed. */
  doubles(field: number, values: readonly number[]): this {
    return values.length > 0 ? this.#sized(field, concat(values.map(doubleBytes))) : this;
  }

  bytes(field: number, value: Uint8Array, always = false): this {
    return value.length > 0 || always ? this.#sized(field, value) : this;
  }

  text(field: number, value: string): this {
    return this.bytes(field, utf8(value));
  }

  /** A message within this one; written even when it is empty. */
  message(field: number, value: Writer | Bytes): this {
    return this.#sized(field, value instanceof Writer ? value.done() : value);
  }

  done(): Bytes {
    return concat(this.#parts);
  }

  #sized(field: number, value: Uint8Array): this {
    return this.#put(field, LENGTH, concat([varint(BigInt(value.length)), value]));
  }

  #put(field: number, kind: number, value: Uint8Array): this {
    this.#parts.push(varint(BigInt((field << 3) | kind)), value);
    return this;
  }
}

/** The fields of one message; those that nobody asks for are passed over, as the format demands. */
export class Fields {
  readonly #values = new Map<number, (bigint | Bytes)[]>();

  /** @throws InputError when the bytes are not a message. */
  constructor(data: Bytes) {
    let at = 0;
    const take = (length: number): Bytes => {
      if (length > data.length - at) throw refused();
      at += length;
      return data.subarray(at - length, at);
    };
    const number = (): bigint => {
      let value = 0n;
      for (let shift = 0n; shift < 70n; shift += 7n) {
        const byte = take(1)[0] ?? 0;
        value |= BigInt(byte & 0x7f) << shift;
        if (byte < 0x80) return value & WORD;
      }
      throw refused();
    };
    while (at < data.length) {
      const tag = Number(number());
      const kind = tag & 7;
      const values = this.#values.get(tag >>> 3) ?? [];
      if (kind === VARINT) values.push(number());
      else if (kind === FIXED64) values.push(take(8));
      else if (kind === LENGTH) values.push(take(Number(number())));
      else if (kind === FIXED32) values.push(take(4));
      else throw refused();
      this.#values.set(tag >>> 3, values);
    }
  }

  has(field: number): boolean {
    return this.#values.has(field);
  }

  /** Names are those of the format; a field that is not there has its default. */
  uint64(field: number): bigint {
    const value = this.#last(field) ?? 0n;
    if (typeof value !== "bigint") throw refused();
    return value;
  }

  bool(field: number): boolean {
    return this.uint64(field) !== 0n;
  }

  double(field: number): number {
    const value = this.#last(field);
    if (value === undefined) return 0;
    if (typeof value === "bigint" || value.length !== 8) throw refused();
    return new DataView(value.buffer, value.byteOffset, 8).getFloat64(0, true);
  }

  bytes(field: number): Bytes {
    return this.all(field).at(-1) ?? new Uint8Array();
  }

  text(field: number): string {
    return asText(this.bytes(field));
  }

  /** A repeated field of bytes, texts or messages. */
  all(field: number): Bytes[] {
    return (this.#values.get(field) ?? []).map((value) => {
      if (typeof value === "bigint") throw refused();
      return value;
    });
  }

  texts(field: number): string[] {
    return this.all(field).map(asText);
  }

  #last(field: number): bigint | Bytes | undefined {
    return this.#values.get(field)?.at(-1);
  }
}

/** The text of UTF-8 bytes. @throws InputError when they are not UTF-8. */
export function asText(data: Bytes): string {
  try {
    return fromUtf8(data);
  } catch (error) {
    if (error instanceof TypeError) throw refused();
    throw error;
  }
}

function varint(value: bigint): Bytes {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}

function doubleBytes(value: number): Bytes {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value, true);
  return new Uint8Array(view.buffer);
}

function refused(): InputError {
  return new InputError("the bytes are not the message of this call");
}

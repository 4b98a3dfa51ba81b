/** Numbers in vector files: floats are the hexadecimal of their bytes, big-endian; fractions are `a/b`. */

import { toHex } from "../bytes.ts";
import type { Rational } from "../noise/rational.ts";
import type { RandomStream } from "../noise/stream.ts";
import { bytesOf } from "./hex.ts";

export function doubles(hex: string): Float64Array {
  const view = new DataView(bytesOf(hex).buffer);
  return Float64Array.from({ length: view.byteLength / 8 }, (_, i) => view.getFloat64(8 * i));
}

export function floats(hex: string): Float32Array {
  const view = new DataView(bytesOf(hex).buffer);
  return Float32Array.from({ length: view.byteLength / 4 }, (_, i) => view.getFloat32(4 * i));
}

export function hexOfDoubles(values: Iterable<number>): string {
  return hexOf([...values], 8, (view, at, value) => {
    if (Number.isNaN(value))
      view.setUint32(at, 0x7ff80000); // the sign of what is no number is left to engines
    else view.setFloat64(at, value);
  });
}

export function hexOfFloats(values: Iterable<number>): string {
  return hexOf([...values], 4, (view, at, value) => {
    view.setFloat32(at, value);
  });
}

function hexOf(
  values: readonly number[],
  size: number,
  put: (view: DataView, at: number, value: number) => void,
): string {
  const view = new DataView(new ArrayBuffer(size * values.length));
  values.forEach((value, i) => {
    put(view, size * i, value);
  });
  return toHex(new Uint8Array(view.buffer));
}

/** A double by itself. */
export function double(hex: string): number {
  const [value, ...more] = doubles(hex);
  if (value === undefined || more.length > 0) throw new Error("not one double");
  return value;
}

export function fraction(text: string): Rational {
  const [numerator = "", denominator = "1"] = text.split("/");
  return { numerator: BigInt(numerator), denominator: BigInt(denominator) };
}

/** A stream of given words. @throws Error when more are drawn than there are. */
export class Words implements RandomStream {
  readonly isSeeded = true;
  readonly #words: readonly bigint[];
  #drawn = 0;

  constructor(words: readonly string[]) {
    this.#words = words.map(BigInt);
  }

  get left(): number {
    return this.#words.length - this.#drawn;
  }

  uint64(n: number): BigUint64Array {
    if (n > this.left) throw new Error("more words are drawn than there are");
    this.#drawn += n;
    return BigUint64Array.from(this.#words.slice(this.#drawn - n, this.#drawn));
  }
}

/** Floating-point numbers in the fewest bytes that hold them exactly (RFC 8949, sections 4.2.1 and 4.2.2). */

import type { Bytes } from "../bytes.ts";

/** Head and 2, 4 or 8 bytes; one spelling for all NaN. */
export function floatBytes(value: number): Bytes {
  if (Number.isNaN(value)) return Uint8Array.of(0xf9, 0x7e, 0x00);
  const half = halfOf(value);
  if (half !== undefined) return Uint8Array.of(0xf9, half >> 8, half & 0xff);
  const single = Math.fround(value) === value;
  const out = new Uint8Array(single ? 5 : 9);
  const view = new DataView(out.buffer);
  out[0] = single ? 0xfa : 0xfb;
  if (single) view.setFloat32(1, value);
  else view.setFloat64(1, value);
  return out;
}

/** The value of a half-precision float's 16 bits (IEEE 754 binary16). */
export function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction ? NaN : sign * Infinity;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** The 16 bits of a number that half precision holds exactly. */
function halfOf(value: number): number | undefined {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size === Infinity) return sign | 0x7c00;
  if (size > 65504) return undefined;
  const exponent = Math.max(Math.floor(Math.log2(size || 2 ** -24)), -14);
  for (const e of [exponent, exponent + 1, exponent - 1]) {
    // a logarithm may be off by one at a power of two: the decoder decides
    const fraction = e <= -14 ? size * 2 ** 24 : size * 2 ** (10 - e);
    if (!Number.isInteger(fraction)) continue;
    const bits = sign | (e <= -14 ? fraction : ((e + 15) << 10) + (fraction - 1024));
    if (bits >= 0 && bits <= 0xffff && Object.is(fromHalf(bits), value)) return bits;
  }
  return undefined;
}

/** DER (ITU-T X.690), as much as certificates and requests for them need. */

import { concat, toHex, type Bytes } from "../bytes.ts";
import { InputError } from "../errors.ts";

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bits: 0x03,
  octets: 0x04,
  oid: 0x06,
  utf8: 0x0c,
  utcTime: 0x17,
  time: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** One element: what it is, what is in it, and all of its bytes. */
export interface Element {
  readonly tag: number;
  readonly content: Bytes;
  readonly whole: Bytes;
}

/** An element of these parts. */
export function element(tag: number, ...parts: readonly Uint8Array[]): Bytes {
  const content = concat(parts);
  return concat([Uint8Array.of(tag, ...lengthBytes(content.length)), content]);
}

export const sequence = (...parts: readonly Uint8Array[]): Bytes => element(TAG.sequence, ...parts);

/** A bit string of whole bytes. */
export const bitString = (value: Uint8Array): Bytes => element(TAG.bits, Uint8Array.of(0), value);

/** The elements that these bytes are, one after the other. @throws InputError when they are not DER. */
export function elements(data: Bytes): Element[] {
  const found: Element[] = [];
  for (let at = 0; at < data.length;) {
    const one = elementAt(data, at);
    found.push(one);
    at += one.whole.length;
  }
  return found;
}

/** The one element that these bytes are, of that tag. @throws InputError when they are not. */
export function sole(data: Bytes, tag: number): Bytes {
  const [one, ...more] = elements(data);
  if (one?.tag !== tag || more.length > 0) throw malformed();
  return one.content;
}

/** The bytes of a bit string without unused bits. @throws InputError when it is none. */
export function bitsOf(one: Element | undefined): Bytes {
  if (one?.tag !== TAG.bits || one.content[0] !== 0) throw malformed();
  return one.content.subarray(1);
}

/** An ECDSA signature as WebCrypto takes it (r‖s, 32 bytes each), from DER. @throws InputError when it is none. */
export function rawSignature(der: Bytes): Bytes {
  const numbers = elements(sole(der, TAG.sequence)).map(({ tag, content }) => {
    const digits = content[0] === 0 ? content.subarray(1) : content;
    if (tag !== TAG.integer || content.length === 0 || digits.length > 32) throw malformed();
    return concat([new Uint8Array(32 - digits.length), digits]);
  });
  if (numbers.length !== 2) throw malformed();
  return concat(numbers);
}

/** What an element of that tag holds. @throws InputError when it is another, or missing. */
export function contentOf(one: Element | undefined, tag: number): Bytes {
  if (one?.tag !== tag) throw malformed();
  return one.content;
}

/** An object identifier, as the hexadecimal of its bytes. */
export function oidOf(one: Element | undefined): string {
  return toHex(contentOf(one, TAG.oid));
}

export function malformed(): InputError {
  return new InputError("the bytes are not DER of the kind expected");
}

function lengthBytes(length: number): number[] {
  if (length < 0x80) return [length];
  const digits = length < 0x100 ? [length] : [length >> 8, length & 0xff];
  if (length > 0xffff) throw new InputError("nothing so long is written here");
  return [0x80 | digits.length, ...digits];
}

function elementAt(data: Bytes, at: number): Element {
  const [tag, first] = [data[at], data[at + 1]];
  if (tag === undefined || first === undefined || (tag & 0x1f) === 0x1f) throw malformed();
  const digits = first < 0x80 ? 0 : first & 0x7f;
  if (first === 0x80 || digits > 2) throw malformed();
  let length = digits === 0 ? first : 0;
  for (let i = 0; i < digits; i++) length = length * 256 + (data[at + 2 + i] ?? 0);
  if (digits > 0 && length < (digits === 1 ? 0x80 : 0x100)) throw malformed(); // one spelling of each length
  const start = at + 2 + digits;
  if (start + length > data.length) throw malformed();
  return { tag, content: data.subarray(start, start + length), whole: data.subarray(at, start + length) };
}

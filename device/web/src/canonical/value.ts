/** The values that records are made of. Python tells 1 from 1.0 and JavaScript does not, so floats are wrapped. */

import type { Bytes } from "../bytes.ts";

/** A floating-point number; a bare `number` is always a whole one. */
export class Float {
  constructor(readonly value: number) {}
}

/** A map with text keys. Not an object: its keys would be reordered, and `__proto__` is no key of one. */
export type CborMap = Map<string, CborValue>;

/** `number` is a safe integer, `bigint` any other whole number. */
export type CborValue = null | boolean | number | bigint | Float | string | Bytes | CborValue[] | CborMap;

/** A map from an object literal. */
export function mapOf(fields: Readonly<Record<string, CborValue>>): CborMap {
  return new Map(Object.entries(fields));
}

/** Reading what strangers wrote: size first, one encoding per value, exact fields, exact types (`security/strict.py`). */

import { utf8, type Bytes } from "../bytes.ts";
import { decode, type CborMap, type CborValue } from "../canonical/index.ts";
import { InputError } from "../errors.ts";

const NAME_BYTES = 128;
const DEEPEST_RECORD = 8;
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u;

/**
 * The map with exactly these text keys that `data` is the canonical encoding of; at most `limit` bytes are looked at.
 *
 * @throws InputError when it is anything else.
 */
export function readRecord(data: Bytes, fields: readonly string[], limit: number): CborMap {
  if (data.length > limit) throw new InputError(`a record of ${data.length} bytes is longer than the ${limit} allowed`);
  const value = decode(data, { deepest: DEEPEST_RECORD, bigIntegers: false });
  if (!(value instanceof Map) || value.size !== fields.length || !fields.every((field) => value.has(field))) {
    throw new InputError("the record has missing or unknown fields");
  }
  return value;
}

/** Refuses anything but a whole number from `low` to `high`, both included. @throws InputError */
export function checkInteger(
  value: CborValue | undefined,
  what: string,
  low = 0,
  high: number = Number.MAX_SAFE_INTEGER,
): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < low || value > high) {
    throw new InputError(`${what} must be an integer from ${low} to ${high}`);
  }
  return value;
}

/** Refuses anything but bytes of one of the lengths. @throws InputError */
export function checkBytes(value: CborValue | undefined, what: string, ...lengths: readonly number[]): Bytes {
  if (!(value instanceof Uint8Array) || !lengths.includes(value.length)) {
    throw new InputError(`${what} must be ${lengths.join(" or ")} bytes`);
  }
  return value;
}

/** Refuses anything but a text. @throws InputError */
export function checkText(value: CborValue | undefined, what: string): string {
  if (typeof value !== "string") throw new InputError(`${what} must be a text`);
  return value;
}

/** Refuses anything but a SHA-256 in lower-case hexadecimal. @throws InputError */
export function checkHex(value: CborValue | undefined, what: string): string {
  if (typeof value !== "string" || !/^[0-9a-f]{64}$/.test(value)) {
    throw new InputError(`${what} must be 64 lower-case hexadecimal digits`);
  }
  return value;
}

/**
 * Refuses what cannot be one plain file name and one printable word or phrase of 1 to 128 UTF-8 bytes.
 *
 * @throws InputError
 */
export function checkName(value: CborValue | undefined, what: string): string {
  if (typeof value !== "string" || !isName(value)) {
    throw new InputError(
      `${what} is not a usable name`,
      `1 to ${NAME_BYTES} printable bytes, no slash, no leading dot, no blank at either end`,
    );
  }
  return value;
}

function isName(value: string): boolean {
  const length = utf8(value).length;
  return (
    value.isWellFormed() &&
    !UNPRINTABLE.test(value) &&
    !value.startsWith(" ") &&
    !value.endsWith(" ") &&
    length >= 1 &&
    length <= NAME_BYTES &&
    !value.startsWith(".") &&
    !/[/\\]/.test(value)
  );
}

/** JSON as Python's encoder writes it with sorted keys, no spaces and ASCII only: what a ledger's lines are made of. */

import { Float, type CborValue } from "../canonical/index.ts";
import { InputError } from "../errors.ts";

/**
 * Canonical JSON of plain values.
 *
 * @throws InputError for bytes, and for floats that are not finite.
 */
export function writeJson(value: CborValue): string {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  if (typeof value === "string") return quoted(value);
  if (value instanceof Float) return floatText(value.value);
  if (value instanceof Uint8Array) throw new InputError("JSON holds no bytes");
  if (Array.isArray(value)) return `[${value.map(writeJson).join(",")}]`;
  const items = [...value].sort(([a], [b]) => byCodePoint(a, b));
  return `{${items.map(([key, item]) => `${quoted(key)}:${writeJson(item)}`).join(",")}}`;
}

const SHORT = new Map([
  ["\b", "\\b"],
  ["\t", "\\t"],
  ["\n", "\\n"],
  ["\f", "\\f"],
  ["\r", "\\r"],
  ['"', '\\"'],
  ["\\", "\\\\"],
]);

function quoted(text: string): string {
  // every UTF-16 unit by itself, so a character beyond the first plane becomes two escapes, as in Python
  const escaped = Array.from({ length: text.length }, (_, i) => {
    const unit = text.charAt(i);
    const code = text.charCodeAt(i);
    return SHORT.get(unit) ?? (code >= 0x20 && code < 0x7f ? unit : `\\u${code.toString(16).padStart(4, "0")}`);
  });
  return `"${escaped.join("")}"`;
}

/**
 * Python's `repr` of a float: the fewest digits that give it back, like JavaScript's, with an exponent below 1e-4 and
 * from 1e16 on.
 */
function floatText(value: number): string {
  if (!Number.isFinite(value)) throw new InputError("JSON holds finite numbers only");
  if (value === 0) return Object.is(value, -0) ? "-0.0" : "0.0";
  const [mantissa = "", power = ""] = value.toExponential().split("e");
  const exponent = Number(power);
  if (exponent < -4 || exponent >= 16) {
    return `${mantissa}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  }
  const sign = value < 0 ? "-" : "";
  const digits = mantissa.replace(/[-.]/g, "");
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, "0");
  return `${sign}${whole}.${digits.slice(exponent + 1) || "0"}`;
}

/** Python sorts by code points, JavaScript by UTF-16 units: they differ above U+D7FF. */
export function byCodePoint(a: string, b: string): number {
  const [left, right] = [Array.from(a), Array.from(b)];
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const difference = (left[i]?.codePointAt(0) ?? 0) - (right[i]?.codePointAt(0) ?? 0);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

/** JSON in the one spelling that is signed (OLPC's canonical JSON, as securesystemslib writes it). */

import { Float, type CborValue } from "../../canonical/index.ts";
import { InputError } from "../../errors.ts";
import { byCodePoint } from "../../json/write.ts";

/** @throws InputError for floats and bytes, which it has no spelling for. */
export function canonicalJson(value: CborValue): string {
  if (value === null || typeof value === "boolean" || typeof value === "number" || typeof value === "bigint") {
    return String(value);
  }
  if (typeof value === "string") return quoted(value);
  if (value instanceof Float || value instanceof Uint8Array) throw new InputError("signed JSON holds no such value");
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  const items = [...value].sort(([a], [b]) => byCodePoint(a, b));
  return `{${items.map(([key, item]) => `${quoted(key)}:${canonicalJson(item)}`).join(",")}}`;
}

function quoted(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

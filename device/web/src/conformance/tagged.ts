/** Values in vector files: JSON that loses nothing of a CBOR value. Its form is that of `_make_canonical.py`. */

import { Float, type CborMap, type CborValue } from "../canonical/index.ts";
import { bytesOf } from "./hex.ts";

/** One key says the type; floats are their eight bytes. */
export type Tagged =
  | { readonly null: true }
  | { readonly bool: boolean }
  | { readonly int: string }
  | { readonly float: string }
  | { readonly text: string }
  | { readonly bytes: string }
  | { readonly list: readonly Tagged[] }
  | { readonly map: readonly (readonly [string, Tagged])[] };

/** The value that it stands for. */
export function untagged(tagged: Tagged): CborValue {
  if ("bool" in tagged) return tagged.bool;
  if ("int" in tagged) {
    const value = BigInt(tagged.int);
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }
  if ("float" in tagged) return new Float(new DataView(bytesOf(tagged.float).buffer).getFloat64(0));
  if ("text" in tagged) return tagged.text;
  if ("bytes" in tagged) return bytesOf(tagged.bytes);
  if ("list" in tagged) return tagged.list.map(untagged);
  if ("map" in tagged) return new Map(tagged.map.map(([key, value]) => [key, untagged(value)])) satisfies CborMap;
  return null;
}

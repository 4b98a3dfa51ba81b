/** One byte string per value: the peer of `core/canonical.py`. */

export { decode } from "./decode.ts";
export { encode } from "./encode.ts";
export { Float, mapOf, type CborMap, type CborValue } from "./value.ts";

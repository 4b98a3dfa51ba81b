/** Bytes in vector files. */

import { fromHex, type Bytes } from "../bytes.ts";

/** @throws Error when a vector file holds no hexadecimal where it should: the file is damaged. */
export function bytesOf(hex: string): Bytes {
  const bytes = fromHex(hex);
  if (bytes === undefined) throw new Error(`not hexadecimal: ${hex.slice(0, 40)}`);
  return bytes;
}

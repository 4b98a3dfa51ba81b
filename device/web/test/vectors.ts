/** The vectors as they lie in `tests/conformance`, once their digests have been checked. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

const folder = new URL("../../../tests/conformance/", import.meta.url);

/** What `SHA256SUMS` says of each file. */
export function agreedDigests(): Map<string, string> {
  const lines = readFileSync(new URL("SHA256SUMS", folder), "ascii").trimEnd().split("\n");
  return new Map(lines.map((line) => [line.slice(66), line.slice(0, 64)]));
}

/** The bytes of a file. */
export function vectorBytes(name: string): Uint8Array {
  return readFileSync(new URL(`${name}.json`, folder));
}

/**
 * The content of a file.
 *
 * @throws Error when its bytes are not those that were agreed.
 */
export function vectors(name: string, bytes: Uint8Array = vectorBytes(name)): unknown {
  const digest = createHash("sha256").update(bytes).digest("hex");
  if (digest !== agreedDigests().get(`${name}.json`)) throw new Error(`${name}.json is not the file that was agreed`);
  return JSON.parse(new TextDecoder().decode(bytes)) as unknown;
}

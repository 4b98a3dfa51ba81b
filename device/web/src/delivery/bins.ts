/** The content key, wrapped to each device by HPKE and gathered in bins (`security/delivery/bins.py`). */

import { sha256 } from "@noble/hashes/sha2.js";
import { concat, fromUtf8, utf8, type Bytes } from "../bytes.ts";
import { compare } from "../canonical/encode.ts";
import { InputError, ReleaseRefusedError } from "../errors.ts";
import type { Identity } from "../security/identity.ts";
import { checkHex, checkName, readRecord } from "../security/strict.ts";
import type { Manifest } from "./manifest.ts";

export const MOST_INDEX = 1 << 15;
export const MOST_BIN = 1 << 24;
const MOST_BINS = 256;
const KEY = 32;
const DOMAIN = utf8("skerry/delivery/1/bin:");

/** Digest of the bin of a device, out of the list of bins. @throws ReleaseRefusedError `malformed` */
export function binOf(index: Bytes, device: string): string {
  let bins: string[];
  try {
    const found = readRecord(index, ["bins"], MOST_INDEX).get("bins");
    if (!Array.isArray(found) || !isPower(found.length)) throw new InputError("the number of bins is no power of two");
    bins = found.map((one) => checkHex(one, "a bin's digest"));
  } catch (error) {
    if (error instanceof InputError) throw malformed(`the list of wraps: ${error.what}`);
    throw error;
  }
  const hash = sha256(utf8(device.toLowerCase())); // names of devices are ASCII: see agent/names.ts
  return bins[new DataView(hash.buffer, hash.byteOffset).getUint32(0) % bins.length] ?? "";
}

/**
 * The content key of a release, out of the device's bin.
 *
 * @throws ReleaseRefusedError `not_a_recipient`, `not_sealed_to_us` or `malformed`.
 */
export async function openWrap(bin: Bytes, manifest: Manifest, device: Identity): Promise<Bytes> {
  const wrap = wrapFor(bin, device.name);
  if (wrap === undefined) {
    throw new ReleaseRefusedError(
      "not_a_recipient",
      "this release was not published for this phone",
      "ask the operator",
    );
  }
  const key = await device.open(wrap, concat([DOMAIN, manifest.contentDigest, utf8(device.name)]));
  if (key === undefined) {
    throw new ReleaseRefusedError("not_sealed_to_us", "the release's key was wrapped for another key of this phone");
  }
  if (key.length !== KEY) throw malformed("what was wrapped is no content key");
  return key;
}

/** The wrap for a device; all of the bin is read, which is in the one form that a publisher writes. */
function wrapFor(bin: Bytes, device: string): Bytes | undefined {
  let found: Bytes | undefined;
  let before: Bytes | undefined;
  for (let at = 0; at < bin.length;) {
    const start = at + 1;
    const end = start + (bin[at] ?? 0);
    const from = end + 2;
    if (from > bin.length) throw malformed("a bin of wraps ends inside a wrap");
    at = from + ((bin[end] ?? 0) << 8) + (bin[end + 1] ?? 0);
    if (at > bin.length) throw malformed("a bin of wraps ends inside a wrap");
    const name = bin.subarray(start, end);
    if (before !== undefined && byBytes(before, name) >= 0) throw malformed("a bin is not in the order of its names");
    before = name;
    if (nameOf(name) === device) found = bin.subarray(from, at);
  }
  return found;
}

function nameOf(data: Bytes): string {
  try {
    return checkName(fromUtf8(data), "a device's name");
  } catch (error) {
    if (error instanceof InputError || error instanceof TypeError) throw malformed("a wrap is for no device's name");
    throw error;
  }
}

/** UTF-8 sorts as code points do: by the first byte that differs, else the shorter first. */
function byBytes(a: Bytes, b: Bytes): number {
  const common = Math.min(a.length, b.length);
  return compare(a.subarray(0, common), b.subarray(0, common)) || a.length - b.length;
}

function isPower(count: number): boolean {
  return count >= 1 && count <= MOST_BINS && (count & (count - 1)) === 0;
}

function malformed(what: string): ReleaseRefusedError {
  return new ReleaseRefusedError("malformed", what);
}

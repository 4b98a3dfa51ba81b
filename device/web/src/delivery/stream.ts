/**
 * Files encrypted chunk by chunk under a committing header (`security/delivery/stream.py`, which has the format), by
 * AES-256-GCM, as WebCrypto has it. A blob is in memory whole: a phone takes small files.
 */

import { hkdf } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { concat, equal, utf8, type Bytes } from "../bytes.ts";
import { ReleaseRefusedError } from "../errors.ts";

const CHUNK = 1 << 18;
const TAG = 16;
const HEADER = 8 + 32 + 32;
const AES_256_GCM = 1;
const FIXED = concat([utf8("SKBL"), Uint8Array.of(1, AES_256_GCM, 18, 0)]);
const DOMAIN = utf8("skerry/delivery/1/blob");

/** What a content key gives for one blob. */
interface Derived {
  readonly key: CryptoKey;
  readonly commitment: Bytes;
  readonly prefix: Bytes;
}

/** Length of the blob of a plaintext of `size` bytes. */
export function blobBytes(size: number): number {
  return HEADER + size + TAG * Math.max(1, Math.ceil(size / CHUNK));
}

/**
 * What a blob holds.
 *
 * @throws ReleaseRefusedError when it is none of ours, or altered (`blob_altered`), or of another key (`wrong_key`).
 */
export async function decrypt(blob: Bytes, contentKey: Bytes): Promise<Bytes> {
  const header = blob.slice(0, HEADER);
  if (header.length !== HEADER || !equal(header.subarray(0, 8), FIXED)) throw altered("it does not begin as ours do");
  const { key, commitment, prefix } = await derived(contentKey, header.subarray(8, 40));
  if (!equal(commitment, header.subarray(40))) {
    throw new ReleaseRefusedError("wrong_key", "the blob was not made with this content key");
  }
  const plain: Uint8Array[] = [];
  let at = HEADER;
  for (let counter = 0; at < blob.length || counter === 0; counter++) {
    const sealed = blob.subarray(at, at + CHUNK + TAG);
    at += sealed.length;
    if (sealed.length < TAG || (sealed.length === TAG && counter > 0)) throw altered("it ends inside a chunk");
    try {
      const how = parameters(prefix, counter, at >= blob.length, header);
      plain.push(new Uint8Array(await crypto.subtle.decrypt(how, key, sealed)));
    } catch (error) {
      if (error instanceof DOMException) throw altered(`chunk ${counter} does not authenticate`);
      throw error;
    }
  }
  return concat(plain);
}

/** The blob of a plaintext, as the publisher makes it: for vectors. `salt`: 32 bytes, never used twice. */
export async function encrypt(plaintext: Bytes, contentKey: Bytes, salt: Bytes): Promise<Bytes> {
  const { key, commitment, prefix } = await derived(contentKey, salt);
  const header = concat([FIXED, salt, commitment]);
  const parts: Uint8Array[] = [header];
  const count = Math.max(1, Math.ceil(plaintext.length / CHUNK));
  for (let i = 0; i < count; i++) {
    const chunk = plaintext.subarray(i * CHUNK, (i + 1) * CHUNK);
    const sealed = await crypto.subtle.encrypt(parameters(prefix, i, i === count - 1, header), key, chunk);
    parts.push(new Uint8Array(sealed));
  }
  return concat(parts);
}

async function derived(contentKey: Bytes, salt: Bytes): Promise<Derived> {
  const material = new Uint8Array(hkdf(sha256, contentKey, salt, concat([DOMAIN, FIXED]), 32 + 32 + 7));
  const key = await crypto.subtle.importKey("raw", material.subarray(0, 32), "AES-GCM", false, ["encrypt", "decrypt"]);
  return { key, commitment: material.slice(32, 64), prefix: material.slice(64) };
}

function parameters(prefix: Bytes, counter: number, last: boolean, header: Bytes): AesGcmParams {
  const number = new Uint8Array(5);
  new DataView(number.buffer).setUint32(0, counter);
  number[4] = last ? 1 : 0;
  return { name: "AES-GCM", iv: concat([prefix, number]), additionalData: header, tagLength: 8 * TAG };
}

function altered(how: string): ReleaseRefusedError {
  return new ReleaseRefusedError("blob_altered", `a file of the release was altered or cut off: ${how}`);
}

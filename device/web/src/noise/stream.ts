/**
 * Random bits, as `security/privacy/stream.py`: ChaCha20 key streams (RFC 8439), one of the browser's own entropy and one
 * that a simulation can repeat. WebCrypto has no ChaCha20.
 */

import { chacha20 } from "@noble/ciphers/chacha.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { utf8, type Bytes } from "../bytes.ts";
import { encode } from "../canonical/index.ts";
import { InputError } from "../errors.ts";

/** A source of independent uniform bits that never gives the same ones twice. */
export interface RandomStream {
  /** True when somebody can recompute the stream: simulation only. */
  readonly isSeeded: boolean;
  /** `n` words, uniform over all 2^64 values. */
  uint64(n: number): BigUint64Array;
}

const BLOCK = 64;
const MOST_BLOCKS = 2 ** 32;

/** The key stream of one key under the nonce zero, read once from its start. */
export class ChaChaStream implements RandomStream {
  readonly #key: Bytes;
  #drawn = 0; // bytes

  /** @throws InputError when the key is not 32 bytes long. */
  constructor(
    key: Bytes,
    readonly isSeeded: boolean,
  ) {
    if (key.length !== 32) throw new InputError(`ChaCha20 takes a key of 32 bytes, got ${key.length}`);
    this.#key = key;
  }

  /** The next `n` little-endian words. @throws RangeError when 256 GiB are used up. */
  uint64(n: number): BigUint64Array {
    const first = Math.floor(this.#drawn / BLOCK);
    const skipped = this.#drawn - first * BLOCK;
    const blocks = Math.ceil((skipped + 8 * n) / BLOCK);
    if (first + blocks > MOST_BLOCKS) throw new RangeError("the stream's 256 GiB are used up: make a new one");
    const zeros = new Uint8Array(BLOCK * blocks);
    const bytes = chacha20(this.#key, new Uint8Array(12), zeros, undefined, first);
    this.#drawn += 8 * n;
    const view = new DataView(bytes.buffer, bytes.byteOffset + skipped);
    return BigUint64Array.from({ length: n }, (_, i) => view.getBigUint64(8 * i, true));
  }
}

/** A secret stream, keyed by the browser's generator. */
export function secretStream(): ChaChaStream {
  return new ChaChaStream(crypto.getRandomValues(new Uint8Array(32)), false);
}

/** A reproducible stream: the same seed and labels give the same bits on every machine. It protects nothing. */
export function seededStream(seed: number | bigint, ...labels: readonly (string | number)[]): ChaChaStream {
  const key = hkdf(sha256, encode(seed), utf8("skerry/seed/v1"), encode(["stream", ...labels]), 32);
  return new ChaChaStream(key, true);
}

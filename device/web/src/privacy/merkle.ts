/** The Merkle tree of RFC 9162, as `security/transparency/merkle.py`: SHA-256, hashes of 32 bytes. */

import { sha256 } from "@noble/hashes/sha2.js";
import { concat, equal, type Bytes } from "../bytes.ts";
import { InputError, RefusedError } from "../errors.ts";

const HASH = 32;
const EMPTY_ROOT: Bytes = sha256(new Uint8Array());

/** SHA-256(0x00 ‖ entry). */
export function leafHash(entry: Bytes): Bytes {
  return sha256(concat([Uint8Array.of(0), entry]));
}

/** SHA-256(0x01 ‖ left ‖ right): no leaf can be taken for a node. */
function nodeHash(left: Bytes, right: Bytes): Bytes {
  return sha256(concat([Uint8Array.of(1), left, right]));
}

/** A tree that only grows; it holds the hash of every complete subtree. */
export class MerkleTree {
  readonly #levels: Bytes[][] = [[]];

  constructor(leaves: Iterable<Bytes> = []) {
    for (const leaf of leaves) this.append(leaf);
  }

  get size(): number {
    return this.#levels[0]?.length ?? 0;
  }

  /** Adds a leaf hash. @throws InputError when it is not 32 bytes long. */
  append(leaf: Bytes): void {
    if (leaf.length !== HASH) throw new InputError(`a leaf hash has 32 bytes, this one has ${leaf.length}`);
    let carried = leaf;
    for (let level = 0; ; level++) {
      const hashes = (this.#levels[level] ??= []);
      hashes.push(carried);
      const left = hashes.at(-2);
      if (hashes.length % 2 === 1 || left === undefined) return;
      carried = nodeHash(left, carried);
    }
  }

  /** Root over the first `size` leaves. @throws InputError when there are not so many. */
  root(size = this.size): Bytes {
    if (!Number.isInteger(size) || size < 0 || size > this.size) {
      throw new InputError(`the log has ${this.size} entries, ${size} were asked for`);
    }
    return size === 0 ? EMPTY_ROOT : this.#root(0, size);
  }

  #root(first: number, last: number): Bytes {
    const size = last - first;
    const level = Math.log2(size);
    if (Number.isInteger(level) && first % size === 0) {
      const kept = this.#levels[level]?.[first / size];
      if (kept !== undefined) return kept;
    }
    const half = largestBelow(size);
    return nodeHash(this.#root(first, first + half), this.#root(first + half, last));
  }
}

/** The largest power of two below `size`. */
function largestBelow(size: number): number {
  let half = 1;
  while (2 * half < size) half *= 2;
  return half;
}

/**
 * Checks that the leaf hash is entry `index` of the `size` entries under `root` (RFC 9162, section 2.1.3.2).
 *
 * @throws RefusedError when it is not (`inclusion`), or the proof is none (`malformed`).
 */
export function verifyInclusion(leaf: Bytes, index: number, size: number, proof: readonly Bytes[], root: Bytes): void {
  checkForm([...proof, leaf, root], proof.length);
  if (index < 0 || index >= size) throw refused("inclusion", `entry ${index} cannot be among ${size}`);
  const path = new Path(index, size - 1);
  let found = leaf;
  for (const step of proof) {
    if (path.last === 0) throw refused("inclusion", "the proof is too long");
    found = path.isRight() ? nodeHash(step, found) : nodeHash(found, step);
    path.up();
  }
  if (path.last !== 0 || !equal(found, root)) throw refused("inclusion", "the entry is not the one under this root");
}

/**
 * Checks that `size` entries under `root` begin with the `old` under `oldRoot` (RFC 9162, section 2.1.4.2).
 *
 * @throws RefusedError when they do not (`consistency`), or the proof is none (`malformed`).
 */
export function verifyConsistency(
  old: number,
  oldRoot: Bytes,
  size: number,
  root: Bytes,
  proof: readonly Bytes[],
): void {
  checkForm([...proof, oldRoot, root], proof.length);
  const other = refused("consistency", `the first ${old} entries are not the ones that were there before`);
  if (old < 0 || old > size) throw refused("consistency", `a log of ${size} entries cannot extend one of ${old}`);
  if (old === 0 || old === size) {
    if (proof.length > 0 || !equal(oldRoot, old === 0 ? EMPTY_ROOT : root)) throw other;
    return;
  }
  const [first, ...steps] = Number.isInteger(Math.log2(old)) ? [oldRoot, ...proof] : proof;
  if (first === undefined) throw refused("consistency", "the proof is empty");
  const path = new Path(old - 1, size - 1);
  while (path.position % 2 === 1) path.halve();
  let [before, after] = [first, first];
  for (const step of steps) {
    if (path.last === 0) throw refused("consistency", "the proof is too long");
    if (path.isRight()) [before, after] = [nodeHash(step, before), nodeHash(step, after)];
    else after = nodeHash(after, step);
    path.up();
  }
  if (path.last !== 0 || !equal(before, oldRoot) || !equal(after, root)) throw other;
}

/** Where a proof stands on its way up: a node, and the last one of its level. */
class Path {
  position: number;
  last: number;

  constructor(position: number, last: number) {
    this.position = position;
    this.last = last;
  }

  /** Whether the proof's next hash stands on the left. */
  isRight(): boolean {
    return this.position % 2 === 1 || this.position === this.last;
  }

  /** One level up, and on past levels at whose end this node stands without a partner. */
  up(): void {
    if (this.isRight()) while (this.position % 2 === 0 && this.position > 0) this.halve();
    this.halve();
  }

  halve(): void {
    this.position = Math.floor(this.position / 2);
    this.last = Math.floor(this.last / 2);
  }
}

function checkForm(hashes: readonly Bytes[], length: number): void {
  if (length > 64 || hashes.some((hash) => hash.length !== HASH)) {
    throw refused("malformed", "a proof holds at most 64 hashes of 32 bytes");
  }
}

function refused(reason: string, what: string): RefusedError {
  return new RefusedError(reason, what, "ask for the log and its checkpoint again; do not rely on either until then");
}

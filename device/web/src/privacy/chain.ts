/**
 * The lines of a ledger, each bound to all before it and each a leaf of a Merkle tree: `security/privacy/chain.py` says
 * what is hashed and why. A line that is not byte for byte the encoding of its own entry is refused.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { concat, fromHex, toHex, type Bytes } from "../bytes.ts";
import { encode, mapOf, type CborMap, type CborValue } from "../canonical/index.ts";
import { InputError, LedgerCorruptError } from "../errors.ts";
import { readJson } from "../json/read.ts";
import { writeJson } from "../json/write.ts";
import { leafHash } from "./merkle.ts";

/** What the first entry names as the hash before it. */
export const GENESIS = "0".repeat(64);
/** Kinds of entry that cannot be erased. */
const KEPT: readonly string[] = ["policy", "debit", "erasure"];

const DOMAIN = "skerry/ledger/v2";
const LONGEST = 1 << 20;
const SALT = 16;
const WHOLE = "at,body,hash,kind,prev,salt,seq";
const ERASED = "at,commitment,hash,kind,prev,seq";
const FIRST_FORMAT = "at,body,hash,kind,prev,seq";

/** One event: `at` in ms since the epoch, hashes and salt in hex. An erased one has an empty body and no salt. */
export interface Entry {
  readonly seq: number;
  readonly prev: string;
  readonly kind: string;
  readonly at: number;
  readonly body: CborMap;
  readonly hash: string;
  readonly salt: string;
  readonly commitment: string;
}

type Fields = Omit<Entry, "hash" | "commitment">;

/**
 * A new entry with a fresh salt and its hash.
 *
 * @throws InputError when `kind` is not a lower-case word, or `body` is not plain JSON of at most 1 MiB.
 */
export function entry(seq: number, prev: string, kind: string, at: number, body: CborMap): Entry {
  if (!/^[a-z][a-z_]{0,31}$/.test(kind)) throw new InputError(`${kind} cannot be a kind of ledger entry`);
  if (writeJson(body).length > LONGEST) throw new InputError("a ledger entry holds at most 1 MiB");
  return whole({ seq, prev, kind, at, body, salt: toHex(crypto.getRandomValues(new Uint8Array(SALT))) });
}

/** The entry as it stands in the file, line end included. */
export function line(value: Entry): string {
  const { at, hash, kind, prev, seq, body, salt, commitment } = value;
  const rest: Record<string, CborValue> = salt === "" ? { commitment } : { body, salt };
  return `${writeJson(mapOf({ at, hash, kind, prev, seq, ...rest }))}\n`;
}

/**
 * The entries of complete lines, each checked against the one before.
 *
 * @throws LedgerCorruptError saying at which entry the chain breaks.
 */
export function walk(lines: readonly string[]): Entry[] {
  let prev = GENESIS;
  return lines.map((raw, seq) => {
    const found = parse(raw, seq);
    if (found.seq !== seq || found.prev !== prev) {
      throw broken(seq, "does not follow the one before it: entries were dropped, moved or inserted");
    }
    prev = found.hash;
    return found;
  });
}

function parse(raw: string, seq: number): Entry {
  try {
    const fields = readJson(raw);
    if (!(fields instanceof Map)) throw new InputError("no entry");
    const keys = [...fields.keys()].sort().join();
    if (keys === FIRST_FORMAT) {
      throw new LedgerCorruptError("old_format", "this ledger was written in format 1, without salts");
    }
    const kept = KEPT.some((kind) => kind === fields.get("kind"));
    if (keys !== WHOLE && (keys !== ERASED || kept)) throw new InputError("it is not an entry");
    const found = keys === WHOLE ? whole(read(fields)) : gone(read(fields), text(fields, "commitment"));
    if (found.hash !== fields.get("hash")) throw new InputError("its hash does not fit");
    if (line(found) !== raw) throw new InputError("it is not in canonical form");
    return found;
  } catch (error) {
    if (error instanceof InputError) throw broken(seq, `was changed: ${error.what}`);
    throw error;
  }
}

function read(fields: CborMap): Fields {
  const body = fields.get("body") ?? new Map<string, CborValue>();
  if (!(body instanceof Map)) throw new InputError("its body is no map");
  return {
    seq: integer(fields, "seq"),
    prev: text(fields, "prev"),
    kind: text(fields, "kind"),
    at: integer(fields, "at"),
    body,
    salt: fields.has("salt") ? text(fields, "salt") : "",
  };
}

function text(fields: CborMap, key: string): string {
  const value = fields.get(key);
  if (typeof value !== "string") throw new InputError(`its ${key} is no text`);
  return value;
}

function integer(fields: CborMap, key: string): number {
  const value = fields.get(key);
  if (typeof value !== "number") throw new InputError(`its ${key} is no whole number`);
  return value;
}

function whole(fields: Fields): Entry {
  const key = fromHex(fields.salt);
  if (key?.length !== SALT) throw new InputError(`a salt is ${SALT} bytes in lower-case hexadecimal`);
  return hashed(fields, sha256(concat([key, encode(fields.body)])));
}

function gone(fields: Fields, commitment: string): Entry {
  const bytes = fromHex(commitment);
  if (bytes?.length !== 32) throw new InputError("a commitment is 32 bytes in lower-case hexadecimal");
  return hashed({ ...fields, body: new Map(), salt: "" }, bytes);
}

function hashed(fields: Fields, commitment: Bytes): Entry {
  const prev = fromHex(fields.prev);
  if (prev === undefined) throw new InputError("what it follows is not hexadecimal");
  const leaf = encode([DOMAIN, fields.seq, prev, fields.kind, fields.at, commitment]);
  return { ...fields, hash: toHex(leafHash(leaf)), commitment: toHex(commitment) };
}

function broken(seq: number, what: string): LedgerCorruptError {
  return new LedgerCorruptError(
    "chain_broken",
    `ledger entry ${seq} ${what}`,
    "until it is restored from a copy, its owner must count the whole budget as spent",
  );
}

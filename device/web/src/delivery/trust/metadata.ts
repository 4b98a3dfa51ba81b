/**
 * One file of a repository's metadata, and whether those who may have signed it (The Update Framework 1.0, section 4).
 * What is read of it is refused as `malformed` where it is not of the form that is written.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { fromHex, fromUtf8, toHex, utf8, type Bytes } from "../../bytes.ts";
import type { CborMap, CborValue } from "../../canonical/index.ts";
import { InputError, ReleaseRefusedError } from "../../errors.ts";
import { readJson } from "../../json/read.ts";
import { isSmallOrderEd25519 } from "../../security/small_order.ts";
import { canonicalJson } from "./canonical_json.ts";

const EXPIRES = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;
const SIGNATURE = 64;

/** Whose signatures make a role's file valid. */
export interface Signers {
  /** Public keys, Ed25519; of other kinds there are none here. */
  readonly keys: ReadonlyMap<string, Bytes>;
  readonly threshold: number;
  /** Stands for these keys: SHA-256 of their identifiers. */
  readonly digest: string;
}

export interface Metadata {
  readonly signed: CborMap;
  readonly version: number;
  /** Milliseconds since the epoch. */
  readonly expires: number;
  readonly payload: Bytes;
  readonly signatures: ReadonlyMap<string, Bytes>;
}

/** A file of that type; its signatures are not looked at. */
export function readMetadata(data: Bytes, type: string): Metadata {
  const file = map(parsed(data), "a file of metadata");
  const signed = map(file.get("signed"), "what is signed");
  const spec = text(signed.get("spec_version"), "the version of the specification");
  if (signed.get("_type") !== type || !/^1\.\d+(\.\d+)?$/.test(spec)) throw malformed(`a file is no ${type} of ours`);
  const expires = text(signed.get("expires"), "a time of expiry");
  const ends = EXPIRES.test(expires) ? Date.parse(expires) : NaN;
  if (!Number.isFinite(ends)) throw malformed("a time of expiry is none");
  const version = integer(signed.get("version"), "a version");
  if (version < 1) throw malformed("a version is below 1");
  return { signed, version, expires: ends, payload: payloadOf(signed), signatures: signaturesOf(file) };
}

/** The signers of a role, as a file with `keys` and its entry for the role say it. */
export function signersOf(keys: CborValue | undefined, role: CborMap): Signers {
  const known = map(keys, "the keys");
  const named = list(role.get("keyids"), "a role's keys").map((one) => text(one, "a key's identifier"));
  const threshold = integer(role.get("threshold"), "a threshold");
  if (threshold < 1 || new Set(named).size !== named.length) throw malformed("a role's keys or threshold are none");
  const found = new Map<string, Bytes>();
  for (const id of named) {
    const key = known.get(id);
    const raw = key instanceof Map ? ed25519(key) : undefined;
    if (raw !== undefined) found.set(id, raw);
  }
  return { keys: found, threshold, digest: toHex(sha256(utf8(named.toSorted().join(" ")))) };
}

/** Returns when as many different keys as it takes have signed. @throws ReleaseRefusedError `under_signed` */
export async function checkSigned(file: Metadata, signers: Signers, role: string): Promise<void> {
  const signed = new Set<string>();
  for (const [id, raw] of signers.keys) {
    const signature = file.signatures.get(id);
    if (signature === undefined || isSmallOrderEd25519(raw)) continue;
    const key = await crypto.subtle.importKey("raw", raw, "Ed25519", false, ["verify"]);
    if (await crypto.subtle.verify("Ed25519", key, signature, file.payload)) signed.add(toHex(raw));
  }
  if (signed.size < signers.threshold) {
    throw refusal("under_signed", `${role} is refused: too few of the keys that may sign it have signed it`);
  }
}

export function refusal(
  reason: string,
  what: string,
  mend = "ask the operator; what is here goes on working",
): ReleaseRefusedError {
  return new ReleaseRefusedError(reason, what, mend);
}

export function malformed(what: string): ReleaseRefusedError {
  return refusal("malformed", what);
}

export function map(value: CborValue | undefined, what: string): CborMap {
  if (value instanceof Map) return value;
  throw malformed(`${what} cannot be read`);
}

export function list(value: CborValue | undefined, what: string): CborValue[] {
  if (Array.isArray(value)) return value;
  throw malformed(`${what} cannot be read`);
}

export function text(value: CborValue | undefined, what: string): string {
  if (typeof value === "string") return value;
  throw malformed(`${what} cannot be read`);
}

/** A whole number that can be kept and read back: one past all bounds would lock the phone out for good. */
export function integer(value: CborValue | undefined, what: string): number {
  if (typeof value === "number") return value;
  throw malformed(`${what} is no whole number below 2^53`);
}

function parsed(data: Bytes): CborValue {
  try {
    return readJson(fromUtf8(data));
  } catch (error) {
    if (error instanceof InputError || error instanceof TypeError || error instanceof SyntaxError) {
      throw malformed("a file of metadata is no JSON");
    }
    throw error;
  }
}

function payloadOf(signed: CborMap): Bytes {
  try {
    return utf8(canonicalJson(signed));
  } catch (error) {
    if (error instanceof InputError) throw malformed("what is signed has no canonical form");
    throw error;
  }
}

function signaturesOf(file: CborMap): Map<string, Bytes> {
  const found = new Map<string, Bytes>();
  for (const one of list(file.get("signatures"), "the signatures")) {
    const signature = map(one, "a signature");
    const id = text(signature.get("keyid"), "a key's identifier");
    if (found.has(id)) throw malformed("a key has signed twice");
    const raw = fromHex(text(signature.get("sig"), "a signature"));
    if (raw?.length === SIGNATURE) found.set(id, raw);
  }
  return found;
}

function ed25519(key: CborMap): Bytes | undefined {
  const value = key.get("keyval");
  const hex = value instanceof Map ? value.get("public") : undefined;
  if (key.get("keytype") !== "ed25519" || key.get("scheme") !== "ed25519" || typeof hex !== "string") return undefined;
  const raw = fromHex(hex);
  return raw?.length === 32 ? raw : undefined;
}

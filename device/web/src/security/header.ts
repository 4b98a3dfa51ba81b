/** What is readable on the outside of an envelope, and bound to its inside. */

import { concat, utf8, type Bytes } from "../bytes.ts";
import { encode, mapOf, type CborMap } from "../canonical/index.ts";
import { InputError } from "../errors.ts";
import { KEM_SUITES, type KemSuite } from "./hpke.ts";
import { checkBytes, checkHex, checkInteger, checkName } from "./strict.ts";

/** What a message can be. */
export const KINDS = ["identify", "identity", "instruction", "update", "refusal"] as const;
export type Kind = (typeof KINDS)[number];

/** Longest time from issue to expiry, in ms. */
export const MAX_LIFETIME_MS = 7 * 24 * 3600 * 1000;
export const HEADER_LIMIT = 4096;
export const PREFIX_BYTES = 8;
export const VERSION = 1;
export const MAGIC = "SKEV";

/** The fields of a header; times are in ms since the epoch. See `Header` in `security/envelope.py`. */
export interface Header {
  readonly suite: KemSuite;
  readonly kind: Kind;
  readonly run: string;
  readonly round: number;
  readonly sender: string;
  readonly receiver: string;
  /** SHA-256 in hexadecimal of the model meant, or empty. */
  readonly model: string;
  /** 16 bytes, new for each envelope. */
  readonly nonce: Bytes;
  /** Digest of the envelope that this one answers, or empty. */
  readonly in_reply_to: Bytes;
  /** Digest of a statement that others may check, or empty. */
  readonly receipt: Bytes;
  readonly issued: number;
  readonly expires: number;
}

export const FIELDS: readonly (keyof Header)[] = [
  "suite",
  "kind",
  "run",
  "round",
  "sender",
  "receiver",
  "model",
  "nonce",
  "in_reply_to",
  "receipt",
  "issued",
  "expires",
];

/**
 * A header from a record whose suite is known.
 *
 * @throws InputError when a field has another type or form.
 */
export function headerOf(record: CborMap): Header {
  const suite = KEM_SUITES.find((known) => known === record.get("suite"));
  const kind = KINDS.find((known) => known === record.get("kind"));
  if (suite === undefined || kind === undefined) throw new InputError("the header's suite or kind is not one of ours");
  const issued = checkInteger(record.get("issued"), "the time of issue");
  return {
    suite,
    kind,
    run: checkName(record.get("run"), "the run"),
    round: checkInteger(record.get("round"), "the round"),
    sender: checkName(record.get("sender"), "the sender"),
    receiver: checkName(record.get("receiver"), "the receiver"),
    model: record.get("model") === "" ? "" : checkHex(record.get("model"), "the model"),
    nonce: checkBytes(record.get("nonce"), "the nonce", 16),
    in_reply_to: checkBytes(record.get("in_reply_to"), "the digest replied to", 0, 32),
    receipt: checkBytes(record.get("receipt"), "the receipt", 0, 32),
    issued,
    expires: checkInteger(record.get("expires"), "the expiry", issued + 1, issued + MAX_LIFETIME_MS),
  };
}

/**
 * All bytes of an envelope before the sealed part.
 *
 * @throws InputError as `headerOf`.
 */
export function headBytes(header: Header): Bytes {
  const record = mapOf({ ...header });
  headerOf(record);
  const fields = encode(record);
  return concat([utf8(MAGIC), Uint8Array.of(0, VERSION, fields.length >> 8, fields.length & 0xff), fields]);
}

/**
 * Sealed messages between a coordinator and a device: the peer of `security/envelope.py`, which tells why each state is
 * there. The bytes, big-endian:
 *
 *     magic "SKEV" (4) ‖ version (2) ‖ H (2) ‖ header (H, canonical CBOR) ‖ sealed (n) ‖ signature (64)
 *
 * Opening goes through the same states in the same order as there (sized, framed, parsed, known, authentic, expected,
 * fresh, opened), and ends in the same reason at the first that does not hold. The last state, *first*, is the caller's:
 * a device debits each round once, and that ledger outlives a reload.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { concat, equal, toHex, utf8, type Bytes } from "../bytes.ts";
import { EnvelopeRefusedError, InputError } from "../errors.ts";
import {
  FIELDS,
  HEADER_LIMIT,
  headBytes,
  headerOf,
  MAGIC,
  PREFIX_BYTES,
  VERSION,
  type Header,
  type Kind,
} from "./header.ts";
import { KEM_SUITES, LEAST_OVERHEAD } from "./hpke.ts";
import type { Identity, PublicIdentity } from "./identity.ts";
import { readRecord } from "./strict.ts";

export const MAX_ENVELOPE_BYTES = 64 << 20;
/** By how much two honest clocks may differ, in ms. */
export const SKEW_MS = 30_000;

const SIGNATURE = 64;
const SEALING = utf8("skerry/envelope/1/seal:");
const SIGNING = "skerry/envelope/1/sign";

/** What the receiver waits for; a field that is left out stays open. */
export interface Expected {
  readonly kind: readonly Kind[];
  readonly receiver: string;
  readonly run?: string;
  readonly round?: number;
  readonly sender?: string;
  readonly in_reply_to?: Bytes;
  readonly model?: string;
}

/** An envelope that went through every state. `body` and `signature` prove the header's receipt to others. */
export interface Opened {
  readonly header: Header;
  readonly payload: Bytes;
  /** 32 bytes: what a reply names. */
  readonly digest: Bytes;
  readonly body: Bytes;
  readonly signature: Bytes;
}

/**
 * The envelope that shows `header`, signed by `sender`, whose payload only `receiver` reads.
 *
 * @param once the sender's one-time key pair: for vectors only, see `KemPublicKey.seal`.
 * @throws InputError when the header names another sender, receiver or suite, or the envelope would be too long.
 */
export async function seal(
  header: Header,
  payload: Bytes,
  { sender, receiver, once }: { sender: Identity; receiver: PublicIdentity; once?: CryptoKeyPair },
): Promise<Bytes> {
  if (header.sender !== sender.name || header.receiver !== receiver.name) {
    throw new InputError("the header names another sender or receiver than the keys given");
  }
  if (header.suite !== receiver.suite) {
    throw new InputError(`${receiver.name} has a key of suite ${receiver.suite}, not ${header.suite}`);
  }
  const head = headBytes(header);
  if (head.length + payload.length + receiver.kem.overhead + SIGNATURE > MAX_ENVELOPE_BYTES) {
    throw new InputError(`a payload of ${payload.length} bytes does not fit into an envelope`);
  }
  const body = concat([head, await receiver.kem.seal(payload, concat([SEALING, head]), once)]);
  return concat([body, await sender.sign(SIGNING, concat([sha256(body), header.receipt]))]);
}

/**
 * Goes through the states, in order.
 *
 * @param directory the senders that are trusted to be who they are, by name.
 * @param now ms since the epoch by the receiver's clock.
 * @throws EnvelopeRefusedError with the reason of the first state that does not hold.
 */
export async function openEnvelope(
  data: Bytes,
  {
    me,
    directory,
    expected,
    now,
  }: { me: Identity; directory: ReadonlyMap<string, PublicIdentity>; expected: Expected; now: number },
): Promise<Opened> {
  const { head, sealed, signature } = frame(data);
  const header = parse(head);
  const sender = directory.get(header.sender);
  if (sender === undefined) throw refused("unknown_sender", `nobody of the name ${header.sender} is known`);
  const body = sha256(data.subarray(0, -SIGNATURE));
  await sender.verify(SIGNING, concat([body, header.receipt]), signature);
  check(header, expected, me.kem.suite);
  checkTime(header, now);
  const payload = await me.open(sealed, concat([SEALING, head]));
  if (payload === undefined) throw refused("not_sealed_to_us", "the payload does not open with our key");
  return { header, payload, digest: sha256(data), body, signature };
}

function refused(reason: string, what: string, mend?: string): EnvelopeRefusedError {
  return new EnvelopeRefusedError(reason, what, mend);
}

function frame(data: Bytes): { head: Bytes; sealed: Bytes; signature: Bytes } {
  if (data.length > MAX_ENVELOPE_BYTES) {
    throw refused("too_large", `${data.length} bytes are more than the ${MAX_ENVELOPE_BYTES} allowed`);
  }
  if (data.length < PREFIX_BYTES + LEAST_OVERHEAD + SIGNATURE) throw refused("malformed", "too short for an envelope");
  if (!equal(data.subarray(0, 4), utf8(MAGIC))) throw refused("malformed", "not an envelope");
  const view = new DataView(data.buffer, data.byteOffset, PREFIX_BYTES);
  const version = view.getUint16(4);
  if (version !== VERSION) throw refused("unknown_version", `an envelope of version ${version}`, "update this page");
  const length = view.getUint16(6);
  const start = PREFIX_BYTES + length;
  if (length > HEADER_LIMIT || start + LEAST_OVERHEAD + SIGNATURE > data.length) {
    throw refused("malformed", "the header's length does not fit");
  }
  return {
    head: data.subarray(0, start),
    sealed: data.subarray(start, -SIGNATURE),
    signature: data.subarray(-SIGNATURE),
  };
}

function parse(head: Bytes): Header {
  try {
    const record = readRecord(head.subarray(PREFIX_BYTES), FIELDS, HEADER_LIMIT);
    if (!KEM_SUITES.some((suite) => suite === record.get("suite"))) {
      throw refused("unknown_suite", "the suite is not known", "update this page");
    }
    return headerOf(record);
  } catch (error) {
    if (error instanceof InputError) throw refused("malformed", `the header cannot be used: ${error.message}`);
    throw error;
  }
}

function check(header: Header, expected: Expected, suite: string): void {
  const kind = expected.kind.includes(header.kind) ? undefined : expected.kind.join(" or ");
  const checks: readonly (readonly [string, string | number, string | number | undefined])[] = [
    ["not_for_us", header.receiver, expected.receiver],
    ["wrong_suite", header.suite, suite],
    ["wrong_sender", header.sender, expected.sender],
    ["wrong_kind", header.kind, kind],
    ["wrong_run", header.run, expected.run],
    ["wrong_round", header.round, expected.round],
    ["wrong_model", header.model, expected.model],
    ["wrong_reply", toHex(header.in_reply_to), expected.in_reply_to && toHex(expected.in_reply_to)],
  ];
  for (const [reason, got, wanted] of checks) {
    if (wanted !== undefined && got !== wanted) {
      throw refused(reason, `the message says ${got}, awaited is ${wanted}`);
    }
  }
}

function checkTime(header: Header, now: number): void {
  const mend = "set this device's clock";
  if (now < header.issued - SKEW_MS) throw refused("not_yet_valid", `issued ${header.issued - now} ms ahead`, mend);
  if (now >= header.expires + SKEW_MS) throw refused("expired", `expired ${now - header.expires} ms ago`, mend);
}

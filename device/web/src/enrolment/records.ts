/** What a device and the desk say to each other (`security/enrolment`): canonical CBOR of exact fields, signed. */

import { sha256 } from "@noble/hashes/sha2.js";
import { concat, equal, utf8, type Bytes } from "../bytes.ts";
import { encode, mapOf, type CborMap, type CborValue } from "../canonical/index.ts";
import { InputError, RefusedError } from "../errors.ts";
import { Certificate, verifies } from "../security/certificate.ts";
import { signedDer } from "../security/csr.ts";
import type { Identity } from "../security/identity.ts";
import { checkBytes, checkInteger, checkText, readRecord } from "../security/strict.ts";
import { checkFederation } from "../agent/names.ts";

const LONGEST = 16_384;
const NONCE = 40;
const ENROL = "skerry/enrol/1";
const RENEW = "skerry/renew/1";
const LEAVE = "skerry/leave/1";
const OUTCOME = "skerry/outcome/1";
/** What a browser opens of a release: WebCrypto has AES-GCM and no ChaCha20. */
const CIPHERS = ["aes-256-gcm"];

/** The two keys that sign what a device asks for. */
export interface Signers {
  /** ECDSA P-256, which the certificate is of. */
  readonly device: CryptoKeyPair;
  readonly identity: Identity;
}

/** The sealing key that a request shows. */
export interface ShownKey {
  readonly raw: Bytes;
  readonly suite: string;
  readonly number: number;
  /** Milliseconds since the epoch. */
  readonly ends: number;
}

/** A nonce of the desk, its time, and the root that it shows. */
export interface DeskChallenge {
  readonly federation: string;
  readonly nonce: Bytes;
  readonly now: number;
  readonly root: Certificate;
}

/** Whom messages are to be taken from, as the desk says it; nobody where it names none yet. */
export type CoordinatorKeys = Readonly<Record<"name" | "signing_key" | "kem_key" | "suite", string>> | null;

/** How an application stands. */
export interface Outcome {
  readonly certificate: Certificate | null;
  readonly issuer: Certificate | null;
  readonly coordinator: CoordinatorKeys;
  readonly now: number;
}

/** Asks for a nonce under an invite. */
export function challengeRequest(invite: Bytes): Bytes {
  return encode(mapOf({ invite }));
}

/** @throws InputError when it is none. */
export function readDeskChallenge(data: Bytes): DeskChallenge {
  const fields = readRecord(data, ["federation", "nonce", "now", "root", "issuer"], LONGEST);
  return {
    federation: checkFederation(fields.get("federation")),
    nonce: checkBytes(fields.get("nonce"), "a nonce", NONCE),
    now: checkInteger(fields.get("now"), "a time"),
    root: certificateOf(fields, "root"),
  };
}

/** A signed `EnrolmentRequest`. */
export async function enrolmentRequest(
  signers: Signers,
  asked: {
    federation: string;
    nonce: Bytes;
    token: Bytes;
    deviceClass: string;
    csr: Bytes;
    signingKey: Bytes;
    kem: ShownKey;
    now: number;
  },
): Promise<Bytes> {
  const { federation, nonce, token, deviceClass, csr, signingKey, kem, now } = asked;
  return signedBody(signers, ENROL, {
    ...{ federation, nonce, token, csr, name: signers.identity.name },
    ...{ device_class: deviceClass, signing_key: signingKey },
    ...common(kem, now),
  });
}

/** A signed `RenewalRequest`. */
export async function renewalRequest(
  signers: Signers,
  asked: { federation: string; serial: Bytes; attempt: Bytes; csr: Bytes; kem: ShownKey; now: number },
): Promise<Bytes> {
  const { federation, serial, attempt, csr, kem, now } = asked;
  return signedBody(signers, RENEW, {
    ...{ federation, serial, attempt, csr, name: signers.identity.name },
    ...common(kem, now),
  });
}

/** A signed `LeaveRequest`; `serial` of any certificate that the device was given. */
export async function leaveRequest(
  signers: Signers,
  asked: { federation: string; serial: Bytes; now: number },
): Promise<Bytes> {
  const { federation, serial, now } = asked;
  return signedBody(signers, LEAVE, { federation, serial, name: signers.identity.name, issued: now });
}

/** Returns when the federation has said to this request that the device is out. @throws as `openOutcome` */
export async function checkLeft(answer: Bytes, request: Bytes, root: Certificate, now: number): Promise<void> {
  const fields = await outcomeFields(answer, request, root, now);
  if (fields.get("status") !== "left") throw new InputError("who leaves was answered something else");
}

/**
 * What the desk answered to a request.
 *
 * @param root that the invitation pinned.
 * @throws RefusedError `not_authentic`, when the federation did not say it of this request.
 */
export async function openOutcome(answer: Bytes, request: Bytes, root: Certificate, now: number): Promise<Outcome> {
  const fields = await outcomeFields(answer, request, root, now);
  const told = checkInteger(fields.get("now"), "a time");
  if (fields.get("status") === "pending") return { certificate: null, issuer: null, coordinator: null, now: told };
  if (fields.get("status") !== "enrolled") throw new InputError("an application stands in no way that is known");
  return {
    certificate: certificateOf(fields, "certificate"),
    issuer: certificateOf(fields, "certificate_issuer"),
    coordinator: coordinatorOf(fields.get("coordinator")),
    now: told,
  };
}

/** What the federation says of this very request. */
async function outcomeFields(answer: Bytes, request: Bytes, root: Certificate, now: number): Promise<CborMap> {
  const outer = readRecord(answer, ["body", "issuer", "by_issuer"], LONGEST);
  const [body, signature] = [someBytes(outer, "body"), someBytes(outer, "by_issuer")];
  const signer = certificateOf(outer, "issuer");
  await signer.checkIssued(root, now);
  if (!signer.isAuthority || !(await verifies(signer.key, separated(OUTCOME, body), signature))) {
    throw new RefusedError("not_authentic", "the answer is not signed by the federation");
  }
  const names = ["status", "request", "certificate", "certificate_issuer", "coordinator", "now"];
  const fields = readRecord(body, names, LONGEST);
  if (!equal(checkBytes(fields.get("request"), "a digest", 32), sha256(request))) {
    throw new RefusedError("not_authentic", "the answer is to another request");
  }
  return fields;
}

/** `len(domain) ‖ domain ‖ message`: a signature for one use never verifies for another. */
function separated(domain: string, message: Bytes): Bytes {
  const name = utf8(domain);
  return concat([Uint8Array.of(name.length), name, message]);
}

async function signedBody(
  { device, identity }: Signers,
  domain: string,
  fields: Record<string, CborValue>,
): Promise<Bytes> {
  const body = encode(mapOf(fields));
  return encode(
    mapOf({
      body,
      by_device_key: await signedDer(device.privateKey, separated(domain, body)),
      by_message_key: await identity.sign(domain, body),
    }),
  );
}

function common({ raw, suite, number, ends }: ShownKey, now: number): Record<string, CborValue> {
  return { kem_key: raw, kem_suite: suite, kem_epoch: number, kem_expires: ends, ciphers: [...CIPHERS], issued: now };
}

function certificateOf(fields: CborMap, name: string): Certificate {
  return Certificate.read(someBytes(fields, name));
}

function someBytes(fields: CborMap, name: string): Bytes {
  const value = fields.get(name);
  if (!(value instanceof Uint8Array) || value.length === 0) throw new InputError(`the answer has no ${name}`);
  return value;
}

function coordinatorOf(value: CborValue | undefined): CoordinatorKeys {
  if (!(value instanceof Map)) throw new InputError("the coordinator's keys must be a map");
  if (value.size === 0) return null;
  const text = (name: string): string => checkText(value.get(name), `the coordinator's ${name}`);
  return { name: text("name"), signing_key: text("signing_key"), kem_key: text("kem_key"), suite: text("suite") };
}

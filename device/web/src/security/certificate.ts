/**
 * Certificates of a federation (`security/certificates`): P-256 under one issuing authority under one root, each name a
 * SPIFFE id. The browser's own trust in a server's certificate has no part in this; the root is pinned by the invitation.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { equal, fromUtf8, type Bytes } from "../bytes.ts";
import { InputError, RefusedError } from "../errors.ts";
import { bitsOf, contentOf, elements, malformed, oidOf, rawSignature, sole, TAG, type Element } from "./der.ts";

const ECDSA_SHA256 = "2a8648ce3d040302";
const OID = { usage: "551d0f", names: "551d11", constraints: "551d13", extended: "551d25" };
const CLIENT_AUTH = "2b06010505070302";
const URI = 0x86;
const EXTENSIONS = 0xa3;

const P256 = { name: "ECDSA", namedCurve: "P-256" };
const VERIFYING = { name: "ECDSA", hash: "SHA-256" };

/** What a certificate says; nothing of it is known to be true before `checkIssued`. */
export class Certificate {
  private constructor(
    readonly der: Bytes,
    private readonly signed: Bytes,
    private readonly signature: Bytes,
    /** 20 bytes, big-endian. */
    readonly serial: Bytes,
    readonly issuer: Bytes,
    readonly subject: Bytes,
    /** Milliseconds since the epoch. */
    readonly begins: number,
    readonly ends: number,
    /** SubjectPublicKeyInfo. */
    readonly key: Bytes,
    private readonly extensions: ReadonlyMap<string, Bytes>,
  ) {}

  /** @throws InputError when it is none, or of another kind than a federation's. */
  static read(der: Bytes): Certificate {
    const [signed, algorithm, signature] = elements(sole(der, TAG.sequence));
    if (signed === undefined || algorithm === undefined) throw malformed();
    if (oidOf(elements(contentOf(algorithm, TAG.sequence))[0]) !== ECDSA_SHA256) throw malformed();
    const fields = elements(contentOf(signed, TAG.sequence));
    const [version, serial, , issuer, times, subject, key, ...rest] = fields;
    if (version?.tag !== 0xa0 || issuer === undefined || subject === undefined || key === undefined) throw malformed();
    const [begins, ends] = elements(contentOf(times, TAG.sequence)).map(timeOf);
    if (begins === undefined || ends === undefined) throw malformed();
    return new Certificate(
      der,
      signed.whole,
      bitsOf(signature),
      padded(contentOf(serial, TAG.integer)),
      issuer.whole,
      subject.whole,
      begins,
      ends,
      key.whole,
      extensionsOf(rest),
    );
  }

  /** SHA-256 of all of it. */
  get fingerprint(): Bytes {
    return sha256(this.der);
  }

  /** Whether it may sign others. */
  get isAuthority(): boolean {
    const constraints = this.extensions.get(OID.constraints);
    return constraints !== undefined && elements(sole(constraints, TAG.sequence))[0]?.tag === TAG.boolean;
  }

  /** Whom it speaks of, `spiffe://federation/role/name`. @throws InputError when it has not one such name. */
  get uri(): string {
    const [name, ...more] = elements(sole(this.extensions.get(OID.names) ?? new Uint8Array(), TAG.sequence));
    if (name?.tag !== URI || more.length > 0) throw malformed();
    return fromUtf8(name.content);
  }

  /** Whether it is for clients. */
  get isForClients(): boolean {
    const usages = this.extensions.get(OID.extended);
    return usages !== undefined && elements(sole(usages, TAG.sequence)).some((one) => oidOf(one) === CLIENT_AUTH);
  }

  /** When to ask for the next one: at two thirds of its life. */
  get renewAt(): number {
    return this.begins + Math.floor(((this.ends - this.begins) * 2) / 3);
  }

  /** Returns when an authority issued it and it holds now. @throws RefusedError `foreign_certificate` or a time's. */
  async checkIssued(authority: Certificate, now: number): Promise<void> {
    if (now < this.begins) throw new RefusedError("certificate_not_yet_valid", "the certificate is not valid yet");
    if (now >= this.ends) throw new RefusedError("certificate_expired", "the certificate has expired");
    const named = authority.isAuthority && equal(this.issuer, authority.subject);
    if (!named || !(await verifies(authority.key, this.signed, this.signature))) {
      throw new RefusedError("foreign_certificate", "the certificate is not one of this federation");
    }
  }
}

/** Whether the holder of a P-256 key signed these bytes; `signature` in DER. @throws InputError when the key is none. */
export async function verifies(key: Bytes, message: Bytes, signature: Bytes): Promise<boolean> {
  let imported: CryptoKey;
  try {
    imported = await crypto.subtle.importKey("spki", key, P256, false, ["verify"]);
  } catch (error) {
    if (error instanceof DOMException) throw new InputError("a key that is not of P-256");
    throw error;
  }
  return crypto.subtle.verify(VERIFYING, imported, rawSignature(signature), message);
}

function padded(serial: Bytes): Bytes {
  const digits = serial[0] === 0 ? serial.subarray(1) : serial;
  if (digits.length > 20) throw malformed();
  const whole = new Uint8Array(20);
  whole.set(digits, 20 - digits.length);
  return whole;
}

function timeOf({ tag, content }: Element): number {
  const text = fromUtf8(content);
  const [, year = "", rest = ""] = (tag === TAG.time ? /^(\d{4})(\d{10})Z$/ : /^(\d{2})(\d{10})Z$/).exec(text) ?? [];
  if (year === "" || (tag !== TAG.time && tag !== TAG.utcTime)) throw malformed();
  const whole = tag === TAG.time ? Number(year) : Number(year) + (Number(year) < 50 ? 2000 : 1900);
  const [month = 0, day = 0, hour = 0, minute = 0, second = 0] = (rest.match(/\d\d/g) ?? []).map(Number);
  return Date.UTC(whole, month - 1, day, hour, minute, second);
}

/** Values by identifier. One that is critical and not known makes the whole unusable. */
function extensionsOf(rest: readonly Element[]): Map<string, Bytes> {
  const found = new Map<string, Bytes>();
  const list = rest.find(({ tag }) => tag === EXTENSIONS);
  for (const one of list === undefined ? [] : elements(sole(list.content, TAG.sequence))) {
    const parts = elements(contentOf(one, TAG.sequence));
    const [name, critical] = [oidOf(parts[0]), parts[1]?.tag === TAG.boolean];
    if (critical && !Object.values(OID).includes(name)) throw malformed();
    if (found.has(name)) throw malformed();
    found.set(name, contentOf(parts.at(-1), TAG.octets));
  }
  return found;
}

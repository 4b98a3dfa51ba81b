/** The keys of a phone, made by WebCrypto in this browser. */

import { sha256 } from "@noble/hashes/sha2.js";
import { fromHex, toHex } from "../bytes.ts";
import * as epochs from "../enrolment/epochs.ts";
import type { ShownKey } from "../enrolment/records.ts";
import { InputError } from "../errors.ts";

/** Private keys, none of them extractable. */
export interface Keys {
  readonly name: string;
  readonly device: CryptoKeyPair;
  readonly signing: CryptoKeyPair;
  readonly kem: epochs.KemKeys;
}

export async function newKeys(name: string, now: number): Promise<Keys> {
  const p256 = { name: "ECDSA", namedCurve: "P-256" };
  return {
    name,
    device: await crypto.subtle.generateKey(p256, false, ["sign", "verify"]),
    signing: await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]),
    kem: await epochs.firstKeys(now),
  };
}

/** The sealing key of an epoch as a request shows it. */
export function shown({ number, ends, publicRaw }: epochs.KemEpoch): ShownKey {
  const raw = fromHex(publicRaw);
  if (raw === undefined) throw new InputError("a sealing key was damaged");
  return { raw, suite: "x25519", number, ends };
}

/** Of the device key, hexadecimal, as `skerry fleet approve --fingerprint` takes it. */
export async function fingerprintOf({ device }: Keys): Promise<string> {
  return toHex(sha256(new Uint8Array(await crypto.subtle.exportKey("spki", device.publicKey))));
}

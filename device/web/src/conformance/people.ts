/** Identities in vector files. Their private keys are in the file, so WebCrypto is given them; real ones are made in it. */

import { concat, type Bytes } from "../bytes.ts";
import { KemKeyPair, type KemSuite } from "../security/hpke.ts";
import { Identity, PublicIdentity } from "../security/identity.ts";
import { bytesOf } from "./hex.ts";

export interface PublicPerson {
  readonly name: string;
  readonly suite: KemSuite;
  readonly signing_key: string;
  readonly kem_key: string;
}
export interface Person extends PublicPerson {
  readonly signing_private: string;
  readonly kem_private: string;
}

/** PKCS #8 of a 32-byte key up to the key itself (RFC 8410; RFC 5958 and RFC 5915 for P-256, without its public key). */
export const PKCS8 = {
  ed25519: bytesOf("302e020100300506032b657004220420"),
  x25519: bytesOf("302e020100300506032b656e04220420"),
  /** For ECDH and ECDSA alike. */
  p256: bytesOf("3041020100301306072a8648ce3d020106082a8648ce3d030107042730250201010420"),
};

export function publicOf(person: PublicPerson): Promise<PublicIdentity> {
  return PublicIdentity.of(person.name, bytesOf(person.signing_key), bytesOf(person.kem_key), person.suite);
}

export async function identityOf(person: Person): Promise<Identity> {
  const seed = concat([PKCS8.ed25519, bytesOf(person.signing_private)]);
  const signing = await crypto.subtle.importKey("pkcs8", seed, "Ed25519", false, ["sign"]);
  const pair = await pairOf(person.suite, person.kem_private, person.kem_key);
  return new Identity(person.name, signing, new KemKeyPair(person.suite, pair, bytesOf(person.kem_key)));
}

/** A key pair of a KEM from its halves in hexadecimal; the private one is not extractable. */
export async function pairOf(suite: KemSuite, privateKey: string, publicKey: string): Promise<CryptoKeyPair> {
  if (suite === "xwing") throw new Error("browsers have no ML-KEM");
  const algorithm = suite === "x25519" ? { name: "X25519" } : { name: "ECDH", namedCurve: "P-256" };
  const wrapped: Bytes = concat([PKCS8[suite], bytesOf(privateKey)]);
  return {
    privateKey: await crypto.subtle.importKey("pkcs8", wrapped, algorithm, false, ["deriveBits"]),
    publicKey: await crypto.subtle.importKey("raw", bytesOf(publicKey), algorithm, true, []),
  };
}

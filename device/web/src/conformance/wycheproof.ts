/** What must be refused, against `wycheproof.json`; all but its ML-KEM keys, of a suite that browsers lack. */

import { InputError } from "../errors.ts";
import { KemKeyPair, KemPublicKey, type KemSuite } from "../security/hpke.ts";
import { PublicIdentity } from "../security/identity.ts";
import { concat, type Bytes } from "../bytes.ts";
import { thrown, type Case } from "./check.ts";
import { bytesOf } from "./hex.ts";

interface Vectors {
  readonly x25519_zero_shared_secret: readonly string[];
  readonly p256_invalid_points: readonly { readonly public: string; readonly comment: string }[];
  readonly ed25519_invalid_signatures: readonly {
    readonly pk: string;
    readonly msg: string;
    readonly sig: string;
    readonly comment: string;
  }[];
}

export function wycheproofCases(file: unknown): Case[] {
  const vectors = file as Vectors;
  return [
    ...vectors.x25519_zero_shared_secret.map((point, i) => ({
      name: `x25519 point ${i}`,
      run: () => checkPoint("x25519", bytesOf(point)),
    })),
    ...vectors.p256_invalid_points.map(({ public: point, comment }, i) => ({
      name: `p256 point ${i}, ${comment}`,
      run: () => checkPoint("p256", bytesOf(point)),
    })),
    ...vectors.ed25519_invalid_signatures.map(({ pk, msg, sig, comment }, i) => ({
      name: `signature ${i}, ${comment}`,
      run: () => checkSignature(bytesOf(pk), bytesOf(msg), bytesOf(sig)),
    })),
  ];
}

/** It is no key, and nothing that is said to be sealed by it opens. */
async function checkPoint(suite: KemSuite, point: Bytes): Promise<void> {
  await thrown(InputError, () => KemPublicKey.of(suite, point));
  const me = await KemKeyPair.generate(suite);
  const opened = await me.open(concat([point, new Uint8Array(16 + 7)]), new Uint8Array());
  if (opened !== undefined) throw new Error("opened");
}

async function checkSignature(signingKey: Bytes, message: Bytes, signature: Bytes): Promise<void> {
  const { publicRaw } = await KemKeyPair.generate("x25519");
  const signer = await PublicIdentity.of("signer", signingKey, publicRaw, "x25519");
  if (await crypto.subtle.verify("Ed25519", signer.verifyingKey, signature, message)) throw new Error("it verifies");
}

/** HPKE as it is published, against `hpke.json`: the library gives two of RFC 9180's vectors, those of which WebCrypto has the parts. */

import { Aes128Gcm, CipherSuite, DhkemP256HkdfSha256, DhkemX25519HkdfSha256, HkdfSha256, OpenError } from "@hpke/core";
import { concat, toHex } from "../bytes.ts";
import { same, thrown, type Case } from "./check.ts";
import { bytesOf } from "./hex.ts";
import { pairOf } from "./people.ts";

interface Published {
  readonly kem_id: number;
  readonly kdf_id: number;
  readonly aead_id: number;
  readonly info: string;
  readonly skEm: string;
  readonly skRm: string;
  readonly pkRm: string;
  readonly enc: string;
  readonly key: string;
  readonly base_nonce: string;
  readonly pt: string;
  readonly aad: string;
  readonly ct: string;
}

/** Those of AES-128-GCM; WebCrypto has no ChaCha20-Poly1305 and no ML-KEM. */
const COMPUTED = {
  "RFC 9180 A.1.1": ["x25519", () => new DhkemX25519HkdfSha256()],
  "RFC 9180 A.3.1": ["p256", () => new DhkemP256HkdfSha256()],
} as const;

export function hpkeCases(file: unknown): Case[] {
  const { vectors } = file as { readonly vectors: Readonly<Record<string, Published>> };
  return Object.entries(COMPUTED).map(([name, [curve, kem]]) => ({
    name,
    run: () =>
      check(vectors[name], curve, new CipherSuite({ kem: kem(), kdf: new HkdfSha256(), aead: new Aes128Gcm() })),
  }));
}

async function check(vector: Published | undefined, curve: "x25519" | "p256", suite: CipherSuite): Promise<void> {
  if (vector === undefined) throw new Error("it is not in the file");
  const ids = [suite.kem.id, suite.kdf.id, suite.aead.id];
  same(ids.join(), [vector.kem_id, vector.kdf_id, vector.aead_id].join(), "the suite");
  const [enc, info] = [bytesOf(vector.enc), bytesOf(vector.info)];
  const [plaintext, aad, ciphertext] = [bytesOf(vector.pt), bytesOf(vector.aad), bytesOf(vector.ct)];
  const recipient = await pairOf(curve, vector.skRm, vector.pkRm);
  const params = { recipientKey: recipient, enc, info };
  same(toHex(new Uint8Array(await suite.open(params, ciphertext, aad))), vector.pt, "plaintext");
  await thrown(OpenError, () => suite.open(params, ciphertext, concat([aad, aad])));
  const once = await pairOf(curve, vector.skEm, vector.enc);
  const sealed = await suite.seal({ recipientPublicKey: recipient.publicKey, info, ekm: once }, plaintext, aad);
  same(toHex(new Uint8Array(sealed.ct)), vector.ct, "ciphertext");
  const cipher = { name: "AES-GCM", iv: bytesOf(vector.base_nonce), additionalData: aad };
  const key = await crypto.subtle.importKey("raw", bytesOf(vector.key), "AES-GCM", false, ["encrypt"]);
  same(toHex(new Uint8Array(await crypto.subtle.encrypt(cipher, key, plaintext))), vector.ct, "ciphertext by its key");
}

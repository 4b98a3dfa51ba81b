/** HPKE as it is published, against `hpke.json`: the library gives RFC 9180's own vectors, where WebCrypto can. */

import { Aes128Gcm, CipherSuite, DhkemP256HkdfSha256, DhkemX25519HkdfSha256, HkdfSha256, OpenError } from "@hpke/core";
import { concat, toHex } from "../bytes.ts";
import { same, thrown, type Case } from "./check.ts";
import { bytesOf } from "./hex.ts";
import { pairOf } from "./people.ts";

interface Published {
  readonly kem_id: number;
  readonly aead_id: number;
  readonly info: string;
  readonly skRm: string;
  readonly pkRm: string;
  readonly enc: string;
  readonly pt: string;
  readonly aad: string;
  readonly ct: string;
}

const X25519 = 0x0020;
const P256 = 0x0010;
const AES_128_GCM = 1;

export function hpkeCases(file: unknown): Case[] {
  const { vectors } = file as { readonly vectors: Readonly<Record<string, Published>> };
  return Object.entries(vectors)
    .filter(([, { kem_id, aead_id }]) => (kem_id === X25519 || kem_id === P256) && aead_id === AES_128_GCM)
    .map(([name, vector]) => ({ name, run: () => check(vector) }));
}

async function check(vector: Published): Promise<void> {
  const curve = vector.kem_id === X25519 ? "x25519" : "p256";
  const kem = curve === "x25519" ? new DhkemX25519HkdfSha256() : new DhkemP256HkdfSha256();
  const suite = new CipherSuite({ kem, kdf: new HkdfSha256(), aead: new Aes128Gcm() });
  const [enc, info, aad, ct] = [vector.enc, vector.info, vector.aad, vector.ct].map(bytesOf);
  if (enc === undefined || info === undefined || aad === undefined || ct === undefined) throw new Error("incomplete");
  const params = { recipientKey: await pairOf(curve, vector.skRm, vector.pkRm), enc, info };
  same(toHex(new Uint8Array(await suite.open(params, ct, aad))), vector.pt, "plaintext");
  await thrown(OpenError, () => suite.open(params, ct, concat(aad, aad)));
}

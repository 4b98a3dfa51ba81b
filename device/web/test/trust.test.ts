/** What vectors of both languages cannot say, since the Python client counts otherwise: a key under two names is one key. */

import { expect, it } from "vitest";
import { utf8, type Bytes } from "../src/bytes.ts";
import { checkSigned, type Metadata } from "../src/delivery/trust/metadata.ts";

it("counts a key once, by whatever names it has signed", async () => {
  const pairs = await Promise.all([0, 1].map(() => crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"])));
  const payload = utf8("what is signed");
  const raws: Bytes[] = [];
  const signatures = new Map<string, Bytes>();
  for (const [i, pair] of pairs.entries()) {
    raws.push(new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)));
    signatures.set(`key ${i}`, new Uint8Array(await crypto.subtle.sign("Ed25519", pair.privateKey, payload)));
  }
  const [first, second] = raws as [Bytes, Bytes];
  const file: Metadata = { signed: new Map(), version: 1, expires: 0, payload, signatures };
  const by = (...keys: Bytes[]) => ({
    keys: new Map(keys.map((raw, i) => [`key ${i}`, raw])),
    threshold: 2,
    digest: "",
  });
  await checkSigned(file, by(first, second), "root");
  const once = signatures.get("key 0") ?? new Uint8Array();
  const twice: Metadata = { ...file, signatures: new Map([...signatures.keys()].map((id) => [id, once])) };
  await expect(checkSigned(twice, by(first, first), "root")).rejects.toMatchObject({ reason: "under_signed" });
});

/** Signed requests against `signatures.json`. */

import { concat, fromUtf8, type Bytes } from "../bytes.ts";
import { InputError } from "../errors.ts";
import { contentDigest, signatureBase, signRequest, type SignedHeaders } from "../security/http_signature.ts";
import { same, thrown, type Case } from "./check.ts";
import { bytesOf } from "./hex.ts";
import { PKCS8 } from "./people.ts";

interface Vectors {
  readonly private: string;
  readonly public: string;
  readonly requests: readonly {
    method: string;
    path: string;
    body: string;
    key_id: string;
    created: number;
    nonce: string;
    base: string;
    headers: SignedHeaders;
  }[];
  readonly refused: readonly { given: { key_id: string; nonce: string; created: number }; why: string }[];
}

const ECDSA = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

export function signaturesCases(file: unknown): Case[] {
  const vectors = file as Vectors;
  return [
    ...vectors.requests.map((request, i) => ({ name: `request ${i}`, run: () => checkRequest(vectors, request) })),
    ...vectors.refused.map(({ given: { key_id: keyId, nonce, created }, why }) => ({
      name: why,
      run: async () => {
        const request = { method: "GET", path: "/", keyId, nonce, created };
        await thrown(InputError, () => signatureBase(request, new Uint8Array()));
      },
    })),
  ];
}

async function checkRequest(vectors: Vectors, v: Vectors["requests"][number]): Promise<void> {
  const request = { method: v.method, path: v.path, keyId: v.key_id, created: v.created, nonce: v.nonce };
  const body = bytesOf(v.body);
  same(contentDigest(body), v.headers["content-digest"], "digest");
  const base = signatureBase(request, body);
  same(fromUtf8(base), v.base, "signature base");
  const secret = await crypto.subtle.importKey("pkcs8", concat([PKCS8.p256, bytesOf(vectors.private)]), ECDSA, false, [
    "sign",
  ]);
  const signed = await signRequest(request, body, secret);
  same(signed["signature-input"], v.headers["signature-input"], "signature-input");
  const known = await crypto.subtle.importKey("raw", bytesOf(vectors.public), ECDSA, false, ["verify"]);
  for (const [who, { signature }] of [["Python", v.headers] as const, ["our", signed] as const]) {
    // two signatures by one key over one text differ; both hold
    same(String(await crypto.subtle.verify(ECDSA, known, rawOf(signature), base)), "true", `${who} signature`);
  }
}

function rawOf(signature: string): Bytes {
  const text = /^skerry=:([A-Za-z0-9+/=]+):$/.exec(signature)?.[1];
  if (text === undefined) throw new Error("not a signature of the profile");
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

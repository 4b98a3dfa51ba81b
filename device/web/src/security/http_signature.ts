/**
 * Requests signed by a device: the one profile of HTTP Message Signatures (RFC 9421) that the gateway takes, as
 * `security/http_signature.py`. The key is ECDSA P-256 and never leaves the browser.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { toBase64, utf8, type Bytes } from "../bytes.ts";
import { InputError } from "../errors.ts";

const COVERED = '("@method" "@path" "content-digest")';
const ALGORITHM = { name: "ECDSA", hash: "SHA-256" };
const KEY_ID = /^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$/;
const NONCE = /^[A-Za-z0-9_-]{22,64}$/;
const LATEST = 10 ** 12;

/** What a signature is over, besides the body; the path has no query. */
export interface Request {
  readonly method: string;
  readonly path: string;
  readonly keyId: string;
  /** Seconds since the epoch. */
  readonly created: number;
  /** 22 to 64 characters, never used twice. */
  readonly nonce: string;
}

/** Header names in lower case. */
export interface SignedHeaders {
  readonly "content-digest": string;
  readonly "signature-input": string;
  readonly signature: string;
}

/** The `content-digest` of a body (RFC 9530, sha-256). */
export function contentDigest(body: Bytes): string {
  return `sha-256=:${toBase64(sha256(body))}:`;
}

/** What is signed (RFC 9421, section 2.5). @throws InputError when name, nonce or time cannot stand in it. */
export function signatureBase(request: Request, body: Bytes): Bytes {
  return utf8(
    `"@method": ${request.method}\n"@path": ${request.path}\n"content-digest": ${contentDigest(body)}\n` +
      `"@signature-params": ${parameters(request)}`,
  );
}

/**
 * The three headers that make a request one of this device's.
 *
 * @param key ECDSA P-256, for signing; WebCrypto gives r‖s, the form that the profile has.
 * @throws InputError as `signatureBase`.
 */
export async function signRequest(request: Request, body: Bytes, key: CryptoKey): Promise<SignedHeaders> {
  const raw = await crypto.subtle.sign(ALGORITHM, key, signatureBase(request, body));
  return {
    "content-digest": contentDigest(body),
    "signature-input": `skerry=${parameters(request)}`,
    signature: `skerry=:${toBase64(new Uint8Array(raw))}:`,
  };
}

function parameters({ created, nonce, keyId }: Request): string {
  const timely = Number.isSafeInteger(created) && created >= 1 && created < LATEST;
  if (!timely || !KEY_ID.test(keyId) || !NONCE.test(nonce)) {
    throw new InputError("the device's name, the nonce or the time cannot stand in a signed request");
  }
  return `${COVERED};created=${created};nonce="${nonce}";keyid="${keyId}";alg="ecdsa-p256-sha256";tag="skerry-gateway"`;
}

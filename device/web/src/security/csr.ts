/** A request for a certificate (PKCS #10, RFC 2986), signed by the key that it is of. */

import { utf8, type Bytes } from "../bytes.ts";
import { derSignature } from "../fleet/calls.ts";
import { bitString, element, sequence, TAG } from "./der.ts";

const COMMON_NAME = Uint8Array.of(0x55, 0x04, 0x03);
const ECDSA_SHA256 = Uint8Array.of(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02);
const SIGNING = { name: "ECDSA", hash: "SHA-256" };

/** DER of a request of this name for this P-256 key pair. */
export async function certificateRequest(name: string, pair: CryptoKeyPair): Promise<Bytes> {
  const common = sequence(element(TAG.oid, COMMON_NAME), element(TAG.utf8, utf8(name)));
  const key = new Uint8Array(await crypto.subtle.exportKey("spki", pair.publicKey));
  const asked = sequence(
    element(TAG.integer, Uint8Array.of(0)),
    sequence(element(TAG.set, common)),
    key,
    element(0xa0), // no attributes
  );
  const algorithm = sequence(element(TAG.oid, ECDSA_SHA256));
  return sequence(asked, algorithm, bitString(await signedDer(pair.privateKey, asked)));
}

/** ECDSA P-256 over SHA-256, in DER. */
export async function signedDer(key: CryptoKey, message: Bytes): Promise<Bytes> {
  return derSignature(new Uint8Array(await crypto.subtle.sign(SIGNING, key, message)));
}

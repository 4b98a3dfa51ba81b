/** Points whose order divides the cofactor: as keys they protect nothing, and nobody is made to refuse them. */

import type { Bytes } from "../bytes.ts";

const P = 2n ** 255n - 19n;
const COORDINATE = 2n ** 255n - 1n;
const ORDER_8 = 0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n;

/** https://cr.yp.to/ecdh.html#validate, modulo the prime: of the curve and its twist. */
const MONTGOMERY = new Set([
  0n,
  1n,
  325606250916557431795983626356110631294008115727848805560023387167927233504n,
  39382357235489614581723060781553021112529911719440698176882885853963445705823n,
  P - 1n,
]);

/** y-coordinates of the eight points on edwards25519, with the encodings above the prime that readers accept. */
const EDWARDS = new Set([0n, 1n, P - 1n, P, P + 1n, ORDER_8, P - ORDER_8]);

/** Whether the shared secret with this X25519 key (32 bytes) is one that anybody knows. */
export function isSmallOrderX25519(raw: Bytes): boolean {
  return MONTGOMERY.has(coordinate(raw) % P);
}

/** Whether anybody can make signatures that verify under this Ed25519 key (32 bytes). */
export function isSmallOrderEd25519(raw: Bytes): boolean {
  return EDWARDS.has(coordinate(raw));
}

/** Little-endian, without the topmost bit (RFC 7748, section 5; the sign in RFC 8032). */
function coordinate(raw: Bytes): bigint {
  return raw.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n) & COORDINATE;
}

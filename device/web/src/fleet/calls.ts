/** The calls of Flower's Fleet API by which a device takes part: bodies of requests, and what answers say. */

import { toBase64, utf8, type Bytes } from "../bytes.ts";
import type { Parcel } from "./letter.ts";
import { Fields, Writer } from "./protobuf.ts";

/** A device's key as the Fleet API knows it: the PEM of its SubjectPublicKeyInfo, line ends included. */
export function publicPem(spki: Bytes): Bytes {
  const lines = toBase64(spki).match(/.{1,64}/g) ?? [];
  return utf8(`-----BEGIN PUBLIC KEY-----\n${lines.join("\n")}\n-----END PUBLIC KEY-----\n`);
}

/** A signature as the Fleet API takes it: DER, where WebCrypto gives r‖s. */
export function derSignature(raw: Bytes): Bytes {
  const half = raw.length / 2;
  const numbers = [raw.subarray(0, half), raw.subarray(half)].map((number) => {
    const first = number.findIndex((byte) => byte !== 0);
    const digits = first < 0 ? number.subarray(-1) : number.subarray(first);
    const signed = (digits[0] ?? 0) >= 0x80 ? [0, ...digits] : [...digits];
    return [0x02, signed.length, ...signed];
  });
  const body = numbers.flat(); // of P-256: shorter than 128 bytes, so its length is one byte
  return Uint8Array.from([0x30, body.length, ...body]);
}

export const activate = (pem: Bytes, heartbeat: number): Bytes =>
  new Writer().bytes(1, pem).double(2, heartbeat).done();
export const activated = (answer: Bytes): bigint => new Fields(answer).uint64(1);

export const heartbeat = (node: bigint, every: number): Bytes => from(node).double(2, every).done();
/** Whether the server knows the node. */
export const alive = (answer: Bytes): boolean => new Fields(answer).bool(1);

export const pull = (node: bigint): Bytes => from(node).done();
/** The next message, whose objects lack; from now on the server believes that it was delivered. */
export function pulled(answer: Bytes): Omit<Parcel, "objects"> | undefined {
  const fields = new Fields(answer);
  const [head, tree] = [fields.all(2)[0], fields.all(3)[0]];
  if (head === undefined || tree === undefined) return undefined;
  return { id: new Fields(new Fields(head).bytes(1)).text(2), head, tree };
}

export const pullObject = (node: bigint, run: bigint, id: string): Bytes =>
  from(node).uint64(2, run).text(3, id).done();
/** `missing`: announced and not yet there; `gone`: it will not come. */
export function pulledObject(answer: Bytes): Bytes | "missing" | "gone" {
  const fields = new Fields(answer);
  if (!fields.bool(1)) return "gone";
  return fields.bool(2) ? fields.bytes(3) : "missing";
}

export const confirm = (node: bigint, run: bigint, id: string): Bytes => from(node).uint64(2, run).text(3, id).done();

export function push(node: bigint, reply: Parcel, seconds: number): Bytes {
  return from(node).message(2, reply.head).message(3, reply.tree).doubles(4, [seconds]).done();
}
/** What the server lacks of a reply; nothing at all where it silently refused it. */
export function pushed(answer: Bytes): { session: string; missing: string[] } {
  const fields = new Fields(answer);
  return { session: fields.text(4), missing: fields.texts(3) };
}

export function pushObject(
  node: bigint,
  { run, id, content, session }: { run: bigint; id: string; content: Bytes; session: string },
): Bytes {
  return from(node).uint64(2, run).text(3, id).bytes(4, content).text(5, session).done();
}
/** Whether the object was taken; not when its session is over. */
export const stored = (answer: Bytes): boolean => new Fields(answer).bool(1);

export const deactivate = (node: bigint): Bytes => new Writer().uint64(1, node).done();

/** A request that begins with who asks. */
function from(node: bigint): Writer {
  return new Writer().message(1, new Writer().uint64(1, node));
}

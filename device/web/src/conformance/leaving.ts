/** Requests to leave against `leaving.json`. */

import { concat, toHex } from "../bytes.ts";
import { decode, type CborMap, type CborValue } from "../canonical/index.ts";
import { leaveRequest } from "../enrolment/records.ts";
import { rawSignature } from "../security/der.ts";
import { same, type Case } from "./check.ts";
import { bytesOf } from "./hex.ts";
import { identityOf, PKCS8, type Person } from "./people.ts";

interface Request {
  readonly federation: string;
  readonly serial: string;
  readonly issued: number;
  readonly body: string;
  readonly signed: string;
  readonly by_device_key: string;
  readonly by_message_key: string;
}
interface Vectors {
  readonly device_private: string;
  readonly device_public: string;
  readonly who: Person;
  readonly requests: readonly Request[];
}

const KIND = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

export function leavingCases(file: unknown): Case[] {
  const vectors = file as Vectors;
  return vectors.requests.map((one) => ({ name: one.federation, run: () => check(vectors, one) }));
}

async function check(vectors: Vectors, v: Request): Promise<void> {
  const pkcs8 = concat([PKCS8.p256, bytesOf(vectors.device_private)]);
  const device = {
    privateKey: await crypto.subtle.importKey("pkcs8", pkcs8, KIND, false, ["sign"]),
    publicKey: await crypto.subtle.importKey("raw", bytesOf(vectors.device_public), KIND, false, ["verify"]),
  };
  const signers = { device, identity: await identityOf(vectors.who) };
  const asked = { federation: v.federation, serial: bytesOf(v.serial), now: v.issued };
  const sent = decode(await leaveRequest(signers, asked)) as CborMap;
  same(hexOf(sent.get("body")), v.body, "body");
  same(hexOf(sent.get("by_message_key")), v.by_message_key, "signature of the message key");
  for (const [who, signature] of [
    ["Python", v.by_device_key] as const,
    ["our", hexOf(sent.get("by_device_key"))] as const,
  ]) {
    // two signatures by one key over one text differ; both hold
    const holds = await crypto.subtle.verify(
      KIND,
      device.publicKey,
      rawSignature(bytesOf(signature)),
      bytesOf(v.signed),
    );
    same(String(holds), "true", `${who} signature of the device key`);
  }
}

function hexOf(value: CborValue | undefined): string {
  if (!(value instanceof Uint8Array)) throw new Error("the request lacks bytes");
  return toHex(value);
}

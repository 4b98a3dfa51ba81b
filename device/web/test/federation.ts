/** A federation for tests: an authority that certifies, and a desk that answers. */

import { sha256 } from "@noble/hashes/sha2.js";
import { inviteId, type Invitation } from "../src/agent/link.ts";
import { concat, equal, fromHex, utf8, type Bytes } from "../src/bytes.ts";
import { decode, encode, mapOf, type CborMap, type CborValue } from "../src/canonical/index.ts";
import { signedDer } from "../src/security/csr.ts";
import { bitString, element, elements, sequence, sole, TAG } from "../src/security/der.ts";

export const NOW = Date.UTC(2026, 4, 3, 12);
export const DAY = 86_400_000;

const oid = (hex: string): Bytes => element(TAG.oid, fromHex(hex) ?? new Uint8Array());
const ECDSA_SHA256 = sequence(oid("2a8648ce3d040302"));
const named = (name: string): Bytes =>
  sequence(element(TAG.set, sequence(oid("550403"), element(TAG.utf8, utf8(name)))));
const time = (at: number): Bytes =>
  element(TAG.time, utf8(`${new Date(at).toISOString().replace(/[-T:]/g, "").slice(0, 14)}Z`));
const extension = (name: string, value: Bytes): Bytes => sequence(oid(name), element(TAG.octets, value));

interface Signer {
  readonly name: string;
  readonly keys: CryptoKeyPair;
  readonly certificate: Bytes;
}

/** A certificate; of an authority where `uri` is empty. */
export async function certified(
  subject: string,
  key: Bytes,
  by: { readonly name: string; readonly keys: CryptoKeyPair },
  { uri = "", begins = NOW - DAY, ends = NOW + 30 * DAY } = {},
): Promise<Bytes> {
  const extensions =
    uri === ""
      ? [extension("551d13", sequence(element(TAG.boolean, Uint8Array.of(255))))]
      : [
          extension("551d11", sequence(element(0x86, utf8(uri)))),
          extension("551d25", sequence(oid("2b06010505070302"))),
        ];
  const body = sequence(
    element(0xa0, element(TAG.integer, Uint8Array.of(2))),
    element(TAG.integer, Uint8Array.of(7, ...crypto.getRandomValues(new Uint8Array(8)))),
    ECDSA_SHA256,
    named(by.name),
    sequence(time(begins), time(ends)),
    named(subject),
    key,
    element(0xa3, sequence(...extensions)),
  );
  return sequence(body, ECDSA_SHA256, bitString(await signedDer(by.keys.privateKey, body)));
}

async function signer(name: string, by?: Signer, times = {}): Promise<Signer> {
  const keys = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
  const spki = new Uint8Array(await crypto.subtle.exportKey("spki", keys.publicKey));
  return { name, keys, certificate: await certified(name, spki, by ?? { name, keys }, times) };
}

/** Answers as `server/enrolment` does; everything that came is noted. */
export class Federation {
  readonly came: { readonly path: string; readonly fields: CborMap }[] = [];
  /** Answers in the place of the desk's; a reason refuses. */
  refuse: string | undefined;
  down = false;
  status: string | undefined;
  now = NOW;
  life = 30 * DAY;

  private constructor(
    readonly root: Signer,
    readonly issuer: Signer,
  ) {}

  static async open(): Promise<Federation> {
    const root = await signer("root");
    return new Federation(root, await signer("issuer", root, { ends: NOW + 3000 * DAY }));
  }

  get invitation(): Invitation {
    const token = new Uint8Array(16);
    return {
      ...{ text: "", federation: "harbour", address: "", deviceClass: "phone", expires: NOW + DAY, token },
      root: sha256(this.root.certificate),
    };
  }

  readonly ask = async (path: string, init: RequestInit): Promise<Response> => {
    if (this.down) throw new TypeError("Failed to fetch");
    if (this.refuse !== undefined) {
      return Response.json({ error: { reason: this.refuse, what: "no" } }, { status: 403 });
    }
    const request = init.body as Bytes;
    if (path.endsWith("/challenge")) {
      if (!equal(request, encode(mapOf({ invite: inviteId(new Uint8Array(16)) })))) throw new Error("another invite");
      return answered({
        ...{ federation: "harbour", nonce: new Uint8Array(40), now: this.now },
        ...{ root: this.root.certificate, issuer: this.issuer.certificate },
      });
    }
    const body = (decode(request) as CborMap).get("body") as Bytes;
    const fields = decode(body) as CborMap;
    this.came.push({ path, fields });
    const leaves = path === "/v1/leave";
    const none = new Uint8Array();
    return this.#outcome(
      request,
      this.status ?? (leaves ? "left" : "enrolled"),
      leaves ? none : await this.#place(fields),
    );
  };

  async #place(fields: CborMap): Promise<Bytes> {
    const [asked] = elements(sole(fields.get("csr") as Bytes, TAG.sequence));
    const key = elements(asked?.content ?? new Uint8Array())[2]?.whole ?? new Uint8Array();
    const name = fields.get("name") as string;
    const times = { uri: `spiffe://harbour/device/${name}`, begins: this.now, ends: this.now + this.life };
    return certified(name, key, this.issuer, times);
  }

  async #outcome(request: Bytes, status: string, certificate: Bytes): Promise<Response> {
    const issuer = certificate.length > 0 ? this.issuer.certificate : new Uint8Array();
    const told = { certificate, certificate_issuer: issuer, coordinator: mapOf({}), now: this.now };
    const body = encode(mapOf({ status, request: sha256(request), ...told }));
    const domain = utf8("skerry/outcome/1");
    const message = concat([Uint8Array.of(domain.length), domain, body]);
    const by_issuer = await signedDer(this.issuer.keys.privateKey, message);
    return answered({ body, issuer: this.issuer.certificate, by_issuer });
  }
}

function answered(fields: Readonly<Record<string, CborValue>>): Response {
  return new Response(encode(mapOf(fields)));
}

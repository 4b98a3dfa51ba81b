/** Envelopes against `envelope.json`. */

import { toHex } from "../bytes.ts";
import { EnvelopeRefusedError } from "../errors.ts";
import { MAX_ENVELOPE_BYTES, openEnvelope, seal, type Expected } from "../security/envelope.ts";
import { KINDS, VERSION, type Header } from "../security/header.ts";
import type { Identity, PublicIdentity } from "../security/identity.ts";
import { same, thrown, type Case } from "./check.ts";
import { bytesOf } from "./hex.ts";
import { identityOf, pairOf, publicOf, type Person } from "./people.ts";

type HeaderInHex = Omit<Header, "nonce" | "in_reply_to" | "receipt"> & {
  readonly version: number;
  readonly nonce: string;
  readonly in_reply_to: string;
  readonly receipt: string;
};
interface Sealed {
  readonly header: HeaderInHex;
  readonly payload: string;
  readonly ephemeral_private: string;
  readonly ephemeral_public: string;
  readonly envelope: string;
  readonly digest: string;
  readonly body: string;
  readonly signature: string;
}
interface Refused {
  readonly why: string;
  readonly given: {
    readonly envelope: string;
    readonly me: string;
    readonly now: number;
    readonly expected: Omit<Expected, "in_reply_to"> & { readonly in_reply_to?: string };
  };
  readonly reason: string;
}
interface Vectors {
  readonly people: Readonly<Record<string, Person>>;
  readonly known: readonly string[];
  readonly longest: number;
  readonly sealed: readonly Sealed[];
  readonly refused: readonly Refused[];
}

export function envelopeCases(file: unknown): Case[] {
  const vectors = file as Vectors;
  const society = new Society(vectors);
  return [
    ...Object.entries(vectors.people).map(([name, who]) => ({ name, run: () => checkPerson(name, who) })),
    { name: "too large", run: () => checkLongest(vectors) },
    ...vectors.sealed.map((vector, i) => ({ name: `sealed ${i}`, run: () => checkSealed(society, vector) })),
    ...vectors.refused.map((vector) => ({ name: vector.why, run: () => checkRefused(society, vector) })),
  ];
}

/** The people of a file, whose keys are read once. */
class Society {
  readonly #vectors: Vectors;
  readonly #private = new Map<string, Promise<Identity>>();
  readonly #public = new Map<string, Promise<PublicIdentity>>();

  constructor(vectors: Vectors) {
    this.#vectors = vectors;
  }

  identity(name: string): Promise<Identity> {
    return remembered(this.#private, name, () => identityOf(this.#person(name)));
  }

  known(name: string): Promise<PublicIdentity> {
    return remembered(this.#public, name, () => publicOf(this.#person(name)));
  }

  async directory(): Promise<Map<string, PublicIdentity>> {
    return new Map(await Promise.all(this.#vectors.known.map(async (name) => [name, await this.known(name)] as const)));
  }

  #person(name: string): Person {
    const found = this.#vectors.people[name];
    if (found === undefined) throw new Error(`no such person: ${name}`);
    return found;
  }
}

function remembered<T>(store: Map<string, Promise<T>>, name: string, make: () => Promise<T>): Promise<T> {
  const kept = store.get(name) ?? make();
  store.set(name, kept);
  return kept;
}

/** Every key pair belongs together, and every name is its own. */
async function checkPerson(name: string, who: Person): Promise<void> {
  same(who.name, name, "name");
  const [me, known] = [await identityOf(who), await publicOf(who)];
  const text = bytesOf("01");
  await known.verify("vectors", text, await me.sign("vectors", text));
  same(toHex((await me.kem.open(await known.kem.seal(text, text), text)) ?? new Uint8Array()), "01", "what was sealed");
}

async function checkLongest({ longest }: Vectors): Promise<void> {
  same(String(MAX_ENVELOPE_BYTES), String(longest), "the longest envelope");
  const nobody = { me: undefined, directory: new Map(), expected: { kind: [], receiver: "" }, now: 0 };
  const given = nobody as unknown as Parameters<typeof openEnvelope>[1]; // size is looked at before anything else
  const error = await thrown(EnvelopeRefusedError, () => openEnvelope(new Uint8Array(longest + 1), given));
  same(error.reason, "too_large", "reason");
}

async function checkSealed(society: Society, vector: Sealed): Promise<void> {
  const { version, ...rest } = vector.header;
  same(String(version), String(VERSION), "version");
  const header: Header = {
    ...rest,
    nonce: bytesOf(rest.nonce),
    in_reply_to: bytesOf(rest.in_reply_to),
    receipt: bytesOf(rest.receipt),
  };
  const sealed = await seal(header, bytesOf(vector.payload), {
    sender: await society.identity(header.sender),
    receiver: await society.known(header.receiver),
    once: await pairOf(header.suite, vector.ephemeral_private, vector.ephemeral_public),
  });
  same(toHex(sealed), vector.envelope, "envelope");
  const opened = await openEnvelope(bytesOf(vector.envelope), {
    me: await society.identity(header.receiver),
    directory: await society.directory(),
    expected: { kind: KINDS, receiver: header.receiver },
    now: header.issued,
  });
  same(toHex(opened.payload), vector.payload, "payload");
  same(toHex(opened.digest), vector.digest, "digest");
  same(toHex(opened.body), vector.body, "body");
  same(toHex(opened.signature), vector.signature, "signature");
  for (const [name, value] of Object.entries(opened.header)) {
    same(shown(value), shown(vector.header[name as keyof Header]), name);
  }
}

function shown(value: unknown): string {
  return value instanceof Uint8Array ? toHex(value) : String(value);
}

async function checkRefused(society: Society, { given, reason }: Refused): Promise<void> {
  const { in_reply_to: reply, ...expected } = given.expected;
  let got = "";
  try {
    await openEnvelope(bytesOf(given.envelope), {
      me: await society.identity(given.me),
      directory: await society.directory(),
      expected: { ...expected, ...(reply !== undefined && { in_reply_to: bytesOf(reply) }) },
      now: given.now,
    });
  } catch (error) {
    if (!(error instanceof EnvelopeRefusedError)) throw error;
    got = error.reason;
  }
  same(got, reason, "reason");
}

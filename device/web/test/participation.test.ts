/** A phone debits before it trains, answers once under a debit, and notices when what it keeps is gone. */

import "fake-indexeddb/auto";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { YieldedError } from "../src/agent/loop.ts";
import { participate, type Resident } from "../src/agent/participation.ts";
import { fromUtf8, type Bytes } from "../src/bytes.ts";
import { decode, encode, Float, mapOf, type CborValue } from "../src/canonical/index.ts";
import type { Base } from "../src/delivery/base.ts";
import { headLayout } from "../src/messages/messages.ts";
import { openEnvelope, seal } from "../src/security/envelope.ts";
import type { Header } from "../src/security/header.ts";
import { KemKeyPair } from "../src/security/hpke.ts";
import { Identity, PublicIdentity } from "../src/security/identity.ts";
import { Database } from "../src/storage/database.ts";
import { Ledger, openLedger } from "../src/storage/ledger.ts";
import type { Witness } from "../src/storage/witness.ts";
import { HeadTrainer } from "../src/training/head.ts";
import { Whitening } from "../src/training/whitening.ts";

const NOW = 1_800_000_000_000;
const WIDTH = 5;
const MODEL = "ab".repeat(32);
const POLICY = {
  unit: "example",
  epsilon: 8,
  delta: 1e-5,
  simulated: false,
  minSeparation: 1,
  maxParticipations: 0,
  data: "digits/test",
};

/** A member with both halves of its keys. */
async function person(name: string): Promise<{ own: Identity; known: PublicIdentity }> {
  const signing = await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]);
  const kem = await KemKeyPair.generate("x25519");
  const raw = new Uint8Array(await crypto.subtle.exportKey("raw", signing.publicKey));
  return {
    own: new Identity(name, signing.privateKey, kem),
    known: await PublicIdentity.of(name, raw, kem.publicRaw, "x25519"),
  };
}

class Remembered implements Witness {
  text: string | undefined;
  read(): Promise<string | undefined> {
    return Promise.resolve(this.text);
  }
  write(text: string): Promise<void> {
    this.text = text;
    return Promise.resolve();
  }
  forget(): Promise<void> {
    this.text = undefined;
    return Promise.resolve();
  }
}

let phone: Awaited<ReturnType<typeof person>>;
let coordinator: Awaited<ReturnType<typeof person>>;
let database: Database;
let witness: Remembered;
let name = 0;

beforeEach(async () => {
  [phone, coordinator] = [await person("phone-1"), await person("coordinator")];
  database = await Database.open(`phone ${name++}`);
  witness = new Remembered();
  await database.write([Ledger.beginning("phone-1", POLICY, NOW)]);
});

async function ledger(): Promise<Ledger> {
  const found = await Ledger.open(database);
  if (found === undefined) throw new Error("no ledger");
  return found;
}

/** The phone as it is after a start: everything is read from what is kept. */
async function resident(also: Partial<Resident> = {}): Promise<Resident> {
  const base: Base = {
    digest: MODEL,
    bytes: 0,
    network: new Uint8Array(),
    whitening: new Whitening(new Float32Array(1), new Int8Array(WIDTH - 1), new Float32Array(1), 1),
    bias: 1,
    step: 0,
    initial: new Float32Array(10 * WIDTH),
    width: WIDTH,
  };
  const rows = { x: [Float32Array.of(1, 0, 0, 0, 1), Float32Array.of(0, 1, 0, 0, 1)], y: [3, 4] };
  return {
    ...{ identity: phone.own, coordinator: coordinator.known, ledger: await ledger(), database, witness },
    clock: () => NOW,
    base: () => Promise.resolve(base),
    rows: () => Promise.resolve(rows),
    trained: () => undefined,
    ...also,
  };
}

const NONCE = new Uint8Array(16).fill(7);

async function instruction(
  round: number,
  also: {
    seed?: number;
    unit?: string;
    nonce?: Bytes;
    receipt?: Bytes;
    epochs?: number;
    samplingRate?: number;
  } = {},
): Promise<Bytes> {
  const plan: Record<string, CborValue> = {
    unit: also.unit ?? "example",
    learning_rate: new Float(1),
    clip: new Float(1),
    noise_multiplier: new Float(4),
    denominator: 2,
    epochs: also.epochs ?? 1,
    sampling_rate: new Float(also.samplingRate ?? 1),
  };
  const payload = encode(
    mapOf({
      vector: new Uint8Array(4 * 10 * WIDTH),
      layout: headLayout(10, WIDTH),
      plan: mapOf(plan),
      seed: also.seed ?? null,
    }),
  );
  const header: Header = {
    suite: "x25519",
    kind: "instruction",
    ...{ run: "run-1", round, sender: "coordinator", receiver: "phone-1", model: MODEL },
    ...{ nonce: also.nonce ?? NONCE, in_reply_to: new Uint8Array(), receipt: also.receipt ?? new Uint8Array() },
    ...{ issued: NOW, expires: NOW + 1000 },
  };
  return seal(header, payload, { sender: coordinator.own, receiver: phone.known });
}

async function payloadOf(answer: Bytes): Promise<Bytes> {
  const opened = await openEnvelope(answer, {
    me: coordinator.own,
    directory: new Map([["phone-1", phone.known]]),
    expected: { kind: ["update", "refusal"], receiver: "coordinator" },
    now: NOW,
  });
  return opened.payload;
}

async function debits(): Promise<number> {
  return (await ledger()).debited("run-1").length;
}

describe("one instruction", () => {
  it("is debited on stable storage before anything is computed under it", async () => {
    const seen: number[] = [];
    // eslint-disable-next-line @typescript-eslint/unbound-method -- called on the trainer below
    const train = HeadTrainer.prototype.train;
    const trained = vi.spyOn(HeadTrainer.prototype, "train").mockImplementation(async function (
      this: HeadTrainer,
      ...given
    ) {
      seen.push(await debits()); // of the database, not of what is in memory
      return train.apply(this, given);
    });
    await participate(await instruction(1), await resident());
    trained.mockRestore();
    expect(seen).toEqual([1]);
    expect(witness.text).toBe((await ledger()).head);
  });

  it("asked again after a reload is answered in the same words, and debited once", async () => {
    const first = await participate(await instruction(1), await resident());
    const again = await participate(await instruction(1), await resident());
    expect(await payloadOf(again.answer)).toEqual(await payloadOf(first.answer));
    expect(await debits()).toBe(1);
    expect(again.done.refused).toBeNull();
  });

  it("whose answer could not be kept is answered under the same debit later", async () => {
    const write = database.write.bind(database);
    database.write = (changes) =>
      changes.some(({ key, value }) => key === "answer" && value !== undefined)
        ? Promise.reject(new Error("no room"))
        : write(changes);
    await expect(participate(await instruction(1), await resident())).rejects.toThrow("no room");
    expect(await debits()).toBe(1);
    database.write = write;
    const { answer, done } = await participate(await instruction(1), await resident());
    expect(done.refused).toBeNull();
    expect(decode(await payloadOf(answer))).toBeInstanceOf(Map);
    expect(await debits()).toBe(1);
  });

  it("with another nonce for the same round is a replay", async () => {
    await participate(await instruction(1), await resident());
    const other = await instruction(1, { nonce: new Uint8Array(16) });
    const { answer, done } = await participate(other, await resident());
    expect(done.refused?.code).toBe("replayed");
    expect(fromUtf8(await payloadOf(answer))).toBe("replayed");
    expect(await debits()).toBe(1);
  });

  it.each([
    ["seed_refused", { seed: 1 }],
    ["unit_refused", { unit: "none" }],
    ["rolled_back", { receipt: new Uint8Array(32) }],
  ])("is refused as %s, and nothing is debited", async (reason, also) => {
    const { done } = await participate(await instruction(1, also), await resident());
    expect(done.refused?.code).toBe(reason);
    expect(await debits()).toBe(0);
  });

  it("of more steps than a phone does in a while is refused, and nothing is debited", async () => {
    const { done } = await participate(await instruction(1, { epochs: 100, samplingRate: 0.001 }), await resident());
    expect(done.refused?.code).toBe("too_long");
    expect(await debits()).toBe(0);
  });

  it("is stopped in the middle of a head, and followed under the same debit later", async () => {
    const long = await instruction(1, { epochs: 24 });
    const asked: number[] = [];
    const stop = (share: number): void => {
      asked.push(share);
      throw new YieldedError("paused");
    };
    await expect(participate(long, await resident({ trained: stop }))).rejects.toThrow(YieldedError);
    expect(asked.length).toBe(1);
    expect(asked[0]).toBeLessThan(1);
    expect(await debits()).toBe(1);
    expect(await database.get("state", "answer")).toBeUndefined();
    const shares: number[] = [];
    const { done } = await participate(long, await resident({ trained: (share) => shares.push(share) }));
    expect(done.refused).toBeNull();
    expect(shares.length).toBeGreaterThan(1);
    expect(await debits()).toBe(1);
  });

  it("of an earlier round than one that was debited is refused", async () => {
    await participate(await instruction(2), await resident());
    const { done } = await participate(await instruction(1), await resident());
    expect(done.refused?.code).toBe("out_of_order");
  });

  it("that another page has debited meanwhile is not debited by this one", async () => {
    const [one, other] = [await resident(), await resident()];
    await participate(await instruction(1), one);
    const { done } = await participate(await instruction(2), other);
    expect(done.refused?.code).toBe("ledger_in_use");
    expect(await debits()).toBe(1);
  });
});

describe("a ledger", () => {
  it("that lacks the entry that was seen is lost, and so is one that is gone", async () => {
    await participate(await instruction(1), await resident());
    expect((await openLedger(database, witness, true)).lost).toBe(false);
    await database.write([{ store: "ledger", key: 1 }]);
    expect((await openLedger(database, witness, true)).lost).toBe(true);
    await database.clear(["ledger"]);
    expect((await openLedger(database, witness, false)).lost).toBe(true);
    witness.text = undefined;
    expect((await openLedger(database, witness, true)).lost).toBe(true);
    expect((await openLedger(database, witness, false)).lost).toBe(false);
  });

  it("with a changed line is lost", async () => {
    const line = (await database.get("ledger", 0)) as string;
    await database.write([{ store: "ledger", key: 0, value: line.replace('"unit":"example"', '"unit":"none"') }]);
    expect((await openLedger(database, witness, true)).lost).toBe(true);
  });
});

/**
 * What a phone does with a message, in the only order in which it may be done; `device/participation.py` says why.
 *
 * 1. *Open*: signed by the coordinator that this phone trusts, sealed to it, fresh.
 * 2. *Agree*: a base of the kind agreed to, its layout, finite weights, unit `example`, no seed.
 * 3. *Debit*: the ledger must hold the debit whose receipt the coordinator sends back; what the round spends is on stable
 *    storage before anything is computed from the examples.
 * 4. *Train*: clipping and integer noise happen here, and the exact gradient exists nowhere else.
 * 5. *Keep*: the answer is on stable storage before it is sent. Asked for the same again, the phone debits nothing and
 *    says the same; another answer under the same debit is never made once one was kept.
 * 6. *Answer*: sealed to the coordinator, signed, bound to the instruction, with a receipt of the debit.
 *
 * A refusal is answered too, signed and sealed, with its reason code; the words stay here.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { concat, toHex, utf8, type Bytes } from "../bytes.ts";
import type { Base } from "../delivery/base.ts";
import { EnvelopeRefusedError, InputError, RefusedError } from "../errors.ts";
import {
  CHALLENGE_DOMAIN,
  headLayout,
  readChallenge,
  readInstruction,
  updateBytes,
  type Instruction,
} from "../messages/messages.ts";
import { eventOf, privatePlan } from "../messages/plan.ts";
import { secretStream } from "../noise/stream.ts";
import { CLASSES } from "../preparation/digits.ts";
import type { Entry } from "../privacy/chain.ts";
import { receiptDigest } from "../privacy/receipt.ts";
import { openEnvelope, seal, type Opened } from "../security/envelope.ts";
import type { Kind } from "../security/header.ts";
import type { Identity, PublicIdentity } from "../security/identity.ts";
import type { Change, Database } from "../storage/database.ts";
import type { Ledger } from "../storage/ledger.ts";
import type { Witness } from "../storage/witness.ts";
import { HeadTrainer } from "../training/head.ts";

const REPLY_LIFETIME_MS = 10 * 60 * 1000;
/** Of a round: a few minutes on a slow phone. */
const MOST_STEPS = 10_000;
const STEPS_A_BREATH = 8;

/** The examples as a head reads them: one row each, in the order in which they were added. */
export interface Rows {
  readonly x: readonly Float32Array[];
  readonly y: readonly number[];
}

/** How a message was answered, for the phone's owner. */
export interface Done {
  readonly run: string;
  readonly round: number;
  readonly examples: number;
  /** Code and words of a refusal; the words stay here. */
  readonly refused: { readonly code: string; readonly sentence: string } | null;
  /** The head that came, when the coordinator sent it, and the examples as it sees them, where it was followed. */
  readonly came: {
    readonly base: Base;
    readonly vector: Float32Array;
    readonly rows: Rows;
    readonly issued: number;
  } | null;
}

/** What a device is, has and may use. */
export interface Resident {
  readonly identity: Identity;
  readonly coordinator: PublicIdentity;
  readonly ledger: Ledger;
  readonly database: Database;
  readonly witness: Witness;
  readonly clock: () => number;
  /** The base of a digest, fetched where it is not here. */
  readonly base: (digest: string) => Promise<Base>;
  readonly rows: (base: Base) => Promise<Rows>;
  /** Hears now and then which share of a head is trained; throws when work is to stop: the debit stands. */
  readonly trained: (share: number) => void;
}

/** The last answer; `payload` is missing where the owner erased it. */
interface KeptAnswer {
  readonly asked: string;
  readonly payload?: Bytes;
}

/** Tells the trusted coordinator which device answers here. @throws EnvelopeRefusedError when it is not its challenge. */
export async function answerChallenge(challenge: Bytes, signature: Bytes, me: Resident): Promise<Bytes> {
  await me.coordinator.verify(CHALLENGE_DOMAIN, challenge, signature);
  const asked = readChallenge(challenge);
  const now = me.clock();
  if (now > asked.expires) throw new EnvelopeRefusedError("expired", "the challenge is out of date");
  return sealed(me, "identity", new Uint8Array(), {
    ...{ run: asked.run, round: 0, model: "", in_reply_to: sha256(challenge), receipt: new Uint8Array() },
  });
}

/**
 * Follows one instruction, or refuses it with a reason.
 *
 * @throws EnvelopeRefusedError when the message is not an authentic instruction for this device; nothing was done.
 * @throws CallFailedError when the base cannot be had now; given the envelope again, it goes on.
 */
export async function participate(envelope: Bytes, me: Resident): Promise<{ answer: Bytes; done: Done }> {
  const opened = await openEnvelope(envelope, {
    me: me.identity,
    directory: new Map([[me.coordinator.name, me.coordinator]]),
    expected: { kind: ["instruction"], receiver: me.identity.name },
    now: me.clock(),
  });
  const { run, round } = opened.header;
  try {
    const { payload, receipt, done } = await follow(opened, me);
    return { answer: await reply(me, "update", payload, opened, receipt), done };
  } catch (error) {
    const refusal = refusalOf(error);
    const answer = await reply(me, "refusal", utf8(refusal.code), opened, new Uint8Array());
    return { answer, done: { run, round, examples: 0, refused: refusal, came: null } };
  }
}

function refusalOf(error: unknown): { code: string; sentence: string } {
  if (error instanceof RefusedError) return { code: error.reason, sentence: error.message };
  if (error instanceof InputError) return { code: "malformed", sentence: error.message };
  throw error;
}

async function follow(opened: Opened, me: Resident): Promise<{ payload: Bytes; receipt: Bytes; done: Done }> {
  const { header } = opened;
  const instruction = readInstruction(opened.payload);
  agree(instruction);
  const base = await baseOf(header.model, me);
  const trainer = new HeadTrainer(CLASSES.length, base.width);
  const plan = fitting(instruction, trainer);
  const returned = toHex(header.receipt);
  if (returned !== "" && !me.ledger.remembers(header.run, me.identity.name, returned)) {
    throw new RefusedError("rolled_back", "this ledger lacks a debit that it gave a receipt of");
  }
  const asked = nameOf(header.nonce, header.model, opened.payload);
  const debited = debitOf(me.ledger, header.run, header.round, asked);
  const kept = debited === undefined ? undefined : await keptAnswer(me.database, asked);
  const rows = await me.rows(base); // of the frozen base alone: nothing of them leaves without a debit
  const entry =
    debited ??
    (await me.ledger.debit(
      { run: header.run, round: header.round, event: eventOf(instruction.plan), nonce: asked, promise: "" },
      me.clock(),
      [{ store: "state", key: "answer" }],
    ));
  await me.witness.write(me.ledger.head);
  const receipt = me.ledger.receipt(entry, me.identity.name);
  const payload = kept ?? (await trained());
  const done = { run: header.run, round: header.round, examples: rows.y.length, refused: null };
  return {
    payload,
    receipt: receiptDigest(receipt),
    done: { ...done, came: { base, vector: instruction.vector, rows, issued: header.issued } },
  };

  /** The update, on stable storage: computed again it would be another one, which nobody may see too. */
  async function trained(): Promise<Bytes> {
    const delta = await trainer.train(instruction.vector, rows.x, rows.y, plan, secretStream(), breather(me));
    const { leaf, size, root } = receipt;
    const said = { delta, layout: instruction.layout, ledgerHead: leaf, ledgerSize: size, ledgerRoot: root };
    const made = updateBytes(said);
    const answer: KeptAnswer = { asked, payload: made };
    await me.database.write([{ store: "state", key: "answer", value: answer }]);
    return made;
  }
}

function agree({ seed, plan }: Instruction): void {
  if (seed !== null) {
    throw new RefusedError("seed_refused", "a real device draws its own noise and follows no seed");
  }
  if (plan.unit !== "example") {
    throw new RefusedError("unit_refused", "this device trains only with example-level privacy");
  }
}

async function baseOf(digest: string, me: Resident): Promise<Base> {
  try {
    return await me.base(digest);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw new RefusedError("unknown_model", `this device cannot use that model: ${error.what}`);
  }
}

/** The plan, if a head of this size can be trained by it; refused before anything is debited. */
function fitting({ vector, layout, plan }: Instruction, trainer: HeadTrainer): ReturnType<typeof privatePlan> {
  if (layout !== headLayout(trainer.classes, trainer.features) || vector.length !== trainer.size) {
    throw new RefusedError("wrong_layout", "the vector does not have this model's layout");
  }
  if (!vector.every(Number.isFinite)) {
    throw new RefusedError("not_finite", "nothing can be learned from weights that are not finite");
  }
  if (plan.views > 1) throw new RefusedError("views_refused", "this device's examples have one view each");
  if (plan.adversarial !== "none") {
    throw new RefusedError("attacks_refused", "this device's model has no gradients down to its input here");
  }
  const fit = privatePlan(plan);
  if (fit.steps > MOST_STEPS) {
    throw new RefusedError("too_long", `a phone takes ${MOST_STEPS} steps in a round, not ${fit.steps}`);
  }
  return fit;
}

/** Lets the Worker hear now and then between steps whether to stop. */
function breather(me: Resident): (share: number) => Promise<void> {
  let steps = 0;
  return async (share) => {
    steps += 1;
    if (steps % STEPS_A_BREATH > 0) return;
    await new Promise((resolve) => setTimeout(resolve)); // a task of its own, so that messages come in
    me.trained(share);
  };
}

/** What names an instruction in its debit: nonce, model and words, so that one price cannot pay for another plan. */
function nameOf(nonce: Bytes, model: string, payload: Bytes): string {
  return toHex(sha256(concat([sha256(nonce), sha256(utf8(model)), sha256(payload)])));
}

/**
 * The debit of this very instruction, if it was the last one to be followed and is asked for again.
 *
 * @throws RefusedError `out_of_order` when a later round of its run was debited.
 */
function debitOf(ledger: Ledger, run: string, round: number, asked: string): Entry | undefined {
  if (!ledger.has(run, round)) {
    const newest = ledger.debited(run)[0]?.body.get("round");
    if (typeof newest === "number" && round < newest) {
      throw new RefusedError("out_of_order", `round ${newest} of this run was debited before`);
    }
    return undefined;
  }
  const last = ledger.lastDebit();
  const body = last?.body;
  const same = body?.get("run") === run && body.get("round") === round && body.get("nonce") === asked;
  return same ? last : undefined;
}

/**
 * The answer that was kept for this instruction; where none is there, none was ever sent.
 *
 * @throws RefusedError `answer_forgotten` when it was erased: another one would be a second under the same debit.
 */
async function keptAnswer(database: Database, asked: string): Promise<Bytes | undefined> {
  const kept = (await database.get("state", "answer")) as KeptAnswer | undefined;
  if (kept?.asked !== asked) return undefined;
  if (kept.payload === undefined) {
    throw new RefusedError("answer_forgotten", "what was answered to this was erased by the owner");
  }
  return kept.payload;
}

/** What erases the content of the last answer, but not that there was one; nothing where there is none. */
export async function forgotten(database: Database): Promise<Change[]> {
  const kept = (await database.get("state", "answer")) as KeptAnswer | undefined;
  return kept === undefined ? [] : [{ store: "state", key: "answer", value: { asked: kept.asked } }];
}

function reply(me: Resident, kind: Kind, payload: Bytes, opened: Opened, receipt: Bytes): Promise<Bytes> {
  const { run, round, model } = opened.header;
  return sealed(me, kind, payload, { run, round, model, in_reply_to: opened.digest, receipt });
}

function sealed(
  me: Resident,
  kind: Kind,
  payload: Bytes,
  about: { run: string; round: number; model: string; in_reply_to: Bytes; receipt: Bytes },
): Promise<Bytes> {
  const now = me.clock();
  const header = {
    ...about,
    suite: me.coordinator.suite,
    kind,
    sender: me.identity.name,
    receiver: me.coordinator.name,
    nonce: crypto.getRandomValues(new Uint8Array(16)),
    issued: now,
    expires: now + REPLY_LIFETIME_MS,
  };
  return seal(header, payload, { sender: me.identity, receiver: me.coordinator });
}

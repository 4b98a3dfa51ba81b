/**
 * The phone's loop, as `device/agent/agent.py`: stay in touch, take one message at a time, answer it, and survive
 * whatever happens meanwhile.
 *
 * One turn: keep up the place in the federation; look whether the phone may work (paused, hidden: then it goes offline,
 * so that nobody waits for it); join; ask, and keep what comes, for it is never given again; work and send. What fails on
 * the way to the server leads to a wait, ever longer, and another turn.
 */

import { InputError, RefusedError, SkerryError } from "../errors.ts";
import { metadataOf, open, pack, replyTo, type Content, type Letter, type Parcel } from "../fleet/letter.ts";
import type { Database } from "../storage/database.ts";
import type { FleetCalls } from "./fleet.ts";
import type { Journal } from "./journal.ts";
import { CallFailedError } from "./line.ts";
import { Node } from "./node.ts";
import { Backoff, pace, type Random } from "./pace.ts";
import type { Activity, Reason } from "./phone.ts";

const REST_S = 1;
/** What a reply says of the time that it took: nothing, for that grows with the number of examples. */
const NO_SECONDS = 0;
const [TROUBLE_S, STRANGER_S] = [30, 600];

/** What the loop needs to know of the phone, and tells it. */
export interface Hooks {
  /** Renews what is due; `doubtful`: asks the desk although nothing is due. @throws SkerryError */
  keepUp(doubtful: boolean): Promise<void>;
  /** Why it may not work now; `null` when it may. */
  lapse(): Reason | null;
  /** What is done now, and why it does not go on. */
  tell(activity: Activity, reason: Reason | null): void;
  /** The answer to a message of that kind. @throws SkerryError */
  answer(kind: string, content: Content): Promise<Content>;
}

/** Work was asked to stop: the message stays where it is, and the next turn sees why. */
export class YieldedError extends SkerryError {
  override readonly name: string = "YieldedError";
}

/** Waits, and ends at once when it is woken. */
export interface Bell {
  sleep(ms: number): Promise<void>;
}

/** Milliseconds that never go back. */
export type Monotonic = () => number;

export class Loop {
  readonly #node: Node;
  readonly #backoff: Backoff;
  readonly #strange: Backoff;
  #underWay: Parcel | undefined;
  #doubtful = false;
  #inTrouble = false;
  #worked: number;
  #replied: number | undefined;

  constructor(
    private readonly database: Database,
    private readonly journal: Journal,
    private readonly fleet: FleetCalls,
    private readonly hooks: Hooks,
    private readonly bell: Bell,
    private readonly random: Random,
    private readonly monotonic: Monotonic,
  ) {
    this.#node = new Node(fleet, random);
    this.#backoff = new Backoff(0.5, TROUBLE_S, random);
    this.#strange = new Backoff(5, STRANGER_S, random);
    this.#worked = monotonic();
  }

  /** Is there for the federation until `goOn` says no more. */
  async run(goOn: () => boolean): Promise<void> {
    this.#underWay = await this.journal.letter();
    while (goOn()) await this.bell.sleep(1000 * (await this.#turnOrTrouble()));
    await this.#leave();
  }

  async #turnOrTrouble(): Promise<number> {
    try {
      const wait = await this.#turn();
      this.#backoff.worked();
      this.#strange.worked();
      this.#inTrouble = false;
      return wait;
    } catch (error) {
      if (error instanceof YieldedError) return 0;
      if (error instanceof CallFailedError) return this.#meet(error);
      if (!(error instanceof SkerryError)) throw error;
      this.#inTrouble = true;
      this.hooks.tell("offline", reasonOf(error));
      return this.#backoff.failed();
    }
  }

  async #turn(): Promise<number> {
    const doubtful = this.#doubtful;
    this.#doubtful = false;
    await this.hooks.keepUp(doubtful);
    const lapse = this.hooks.lapse();
    if (lapse !== null) {
      this.hooks.tell("paused", lapse);
      await this.#leave();
      return REST_S;
    }
    const node = this.#node.id ?? (await this.#join());
    const letter = this.#underWay ?? (await this.#ask(node));
    if (letter === undefined) {
      this.hooks.tell("idle", null);
      return pace((this.monotonic() - this.#worked) / 1000, this.random);
    }
    await this.#work(node, letter);
    this.#worked = this.monotonic();
    return 0;
  }

  /** Comes online: by the node that is remembered and a sign of life, else as a new one. */
  async #join(): Promise<bigint> {
    this.hooks.tell("asking", null);
    const before = (await this.database.get("state", "node")) as bigint | undefined;
    const known = before !== undefined && (await this.#stillKnown(before));
    const node = known ? before : await this.fleet.activate();
    if (node !== before) {
      await this.#drop(); // the SuperLink that asked is no more
      await this.database.write([{ store: "state", key: "node", value: node }]);
    }
    this.#node.online(node);
    return node;
  }

  async #stillKnown(node: bigint): Promise<boolean> {
    try {
      return await this.fleet.alive(node);
    } catch (error) {
      if (error instanceof CallFailedError && error.fault === "not_registered") return false;
      throw error;
    }
  }

  async #ask(node: bigint): Promise<Parcel | undefined> {
    let letter: Parcel | undefined;
    try {
      letter = await this.fleet.pull(node);
    } catch (error) {
      if (!(error instanceof CallFailedError && error.fault === "gone")) throw error;
    }
    if (letter !== undefined) {
      this.#underWay = letter; // first: it is ours now, also while there is no room
      await this.journal.keepLetter(letter);
    }
    return letter;
  }

  /** Brings the message that is under way to its end; by the gateway's clock, as the SuperLink's is. */
  async #work(node: bigint, letter: Parcel): Promise<void> {
    const { createdAt, ttl } = metadataOf(letter.head);
    if (this.fleet.line.now >= 1000 * (createdAt + ttl)) return this.#drop();
    try {
      if ((await this.journal.reply()) === undefined) await this.#answer(node, letter);
      this.#checkMayWork();
      this.hooks.tell("answering", null);
      await this.#send(node);
    } catch (error) {
      if (!(error instanceof CallFailedError && error.fault === "gone")) throw error;
      return this.#drop();
    }
    this.#replied = this.monotonic();
    await this.journal.clear();
    this.#underWay = undefined;
  }

  /** Makes the reply and keeps it. */
  async #answer(node: bigint, announced: Parcel): Promise<void> {
    let letter = announced;
    if (letter.objects.size === 0) {
      this.hooks.tell("fetching", null);
      letter = await this.fleet.fetch(node, announced);
      await this.journal.keepLetter(letter);
      this.#underWay = letter;
      try {
        await this.fleet.confirm(node, letter);
      } catch (error) {
        if (!(error instanceof CallFailedError)) throw error; // it frees memory at the SuperLink, no more
      }
    }
    const asked = opened(letter);
    const metadata = replyTo(asked.metadata, letter.id, this.fleet.line.now / 1000);
    let reply: Letter;
    try {
      reply = { metadata, content: await this.hooks.answer(asked.metadata.kind, asked.content) };
    } catch (error) {
      if (!(error instanceof RefusedError || error instanceof InputError)) throw error;
      this.#doubtful = true; // who signs for the coordinator may be another by now
      reply = { metadata, content: new Map(), failure: `the device's app failed (${error.name})` };
    }
    await this.journal.keepReply(pack(reply));
  }

  /** Sends the reply; what is still missing goes out in the session in which it was announced, if that holds. */
  async #send(node: bigint): Promise<void> {
    const kept = await this.journal.reply();
    if (kept === undefined) throw new CallFailedError("gone", "the reply is not here");
    const { reply, session } = kept;
    if (session !== undefined && (await this.#sentIn(node, reply, session.session, session.missing))) return;
    const fresh = await this.fleet.announce(node, reply, NO_SECONDS);
    if (fresh.missing.length > 0) await this.journal.keepSession(fresh);
    for (const id of fresh.missing) await this.#upload(node, reply, fresh.session, id);
  }

  async #upload(node: bigint, reply: Parcel, session: string, id: string): Promise<void> {
    this.#checkMayWork();
    await this.fleet.upload(node, reply, session, id);
  }

  /** @throws YieldedError when the phone may not work now: what was made is kept, and goes out later. */
  #checkMayWork(): void {
    if (this.hooks.lapse() !== null) throw new YieldedError("the phone may not work now");
  }

  async #sentIn(node: bigint, reply: Parcel, session: string, missing: readonly string[]): Promise<boolean> {
    try {
      for (const id of missing) await this.#upload(node, reply, session, id);
      return true;
    } catch (error) {
      if (error instanceof CallFailedError && error.fault === "gone") return false;
      throw error;
    }
  }

  async #drop(): Promise<void> {
    if (this.#underWay === undefined) return;
    this.#underWay = undefined;
    await this.journal.clear();
  }

  /**
   * Goes offline, so that who asks for the phone is told at once. A SuperLink loses replies of nodes that are offline, so
   * a node that has just replied is left to go offline by itself.
   */
  async #leave(): Promise<void> {
    const justReplied = this.#replied !== undefined && this.monotonic() - this.#replied < 2000 * this.fleet.heartbeat;
    if (this.#node.id === undefined || this.#inTrouble || justReplied) {
      this.#node.lost();
      return;
    }
    try {
      await this.#node.offline();
    } catch (error) {
      if (!(error instanceof CallFailedError)) throw error;
    }
  }

  /** Seconds to wait after a call that failed. */
  #meet(error: CallFailedError): number {
    if (error.fault === "not_registered") {
      this.#node.lost();
      return this.#backoff.failed(error.retryAfter);
    }
    this.#inTrouble = true;
    this.hooks.tell("offline", { code: error.fault, sentence: error.what });
    if (error.fault === "unknown") {
      this.#node.lost();
      this.#doubtful = true; // the desk says why, where the gateway does not
      return this.#strange.failed(error.retryAfter);
    }
    return this.#backoff.failed(error.retryAfter);
  }
}

/** A reason for people of an error. */
export function reasonOf(error: SkerryError): Reason {
  const code = error instanceof RefusedError ? error.reason : error instanceof CallFailedError ? error.fault : "failed";
  return { code, sentence: error.message };
}

function opened(letter: Parcel): Letter {
  try {
    return open(letter);
  } catch (error) {
    if (error instanceof InputError) throw new CallFailedError("gone", "the parts do not make a message");
    throw error;
  }
}

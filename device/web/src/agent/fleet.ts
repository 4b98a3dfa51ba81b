/** The calls of the Fleet API by which a phone takes part, over a line: `device/agent/flwr_fleet.py` names the traps. */

import { toBase64, type Bytes } from "../bytes.ts";
import { InputError } from "../errors.ts";
import * as calls from "../fleet/calls.ts";
import { identifiers, metadataOf, type Parcel } from "../fleet/letter.ts";
import { CallFailedError, type GatewayLine } from "./line.ts";

const SMALL = 1 << 20;
const OBJECT = (5 << 20) + (64 << 10);
const [MOST_OBJECTS, LARGEST] = [4096, 64 << 20];
const [FIRST_WAIT_MS, LONGEST_WAIT_MS, PULL_MS] = [20, 500, 60_000];
const LATEST_S = 1e11;
const MEDIA = "application/protobuf";

/** A reply that was announced: what the SuperLink still lacks of it goes to it under this identifier. */
export interface Session {
  readonly session: string;
  readonly missing: readonly string[];
}

export class FleetCalls {
  readonly #pem: Bytes;
  readonly #header: string;

  /**
   * @param publicKey of the phone, SubjectPublicKeyInfo.
   * @param heartbeat seconds between signs of life that the SuperLink may expect.
   */
  constructor(
    readonly line: GatewayLine,
    publicKey: Bytes,
    readonly heartbeat: number,
    private readonly sleep: (ms: number) => Promise<void>,
  ) {
    this.#pem = calls.publicPem(publicKey);
    this.#header = toBase64(this.#pem);
  }

  /** Comes online; the node's number. */
  async activate(): Promise<bigint> {
    return calls.activated(await this.#call("activate-node", calls.activate(this.#pem, this.heartbeat)));
  }

  /** Goes offline: who asks the node for something is told at once that it is not there. */
  async deactivate(node: bigint): Promise<void> {
    await this.#call("deactivate-node", calls.deactivate(node));
  }

  /** A sign of life, which also brings a node back online; whether the SuperLink knows the node. */
  async alive(node: bigint): Promise<boolean> {
    return calls.alive(await this.#call("send-node-heartbeat", calls.heartbeat(node, this.heartbeat)));
  }

  /** The next message, which is never given again; its objects lack. */
  async pull(node: bigint): Promise<Parcel | undefined> {
    const head = calls.pulled(await this.#call("pull-messages", calls.pull(node)));
    if (head === undefined) return undefined;
    const letter = { ...head, objects: new Map<string, Bytes>() };
    try {
      const { createdAt, ttl } = metadataOf(letter.head);
      identifiers(letter.tree);
      if ([createdAt, ttl].every((time) => Math.abs(time) < LATEST_S)) return letter;
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
    }
    throw new CallFailedError("gone", "a message that cannot be read");
  }

  /** The objects of a message that was announced. */
  async fetch(node: bigint, announced: Parcel): Promise<Parcel> {
    const wanted = identifiers(announced.tree);
    if (wanted.length > MOST_OBJECTS) throw new CallFailedError("gone", `a message of ${wanted.length} objects`);
    const { run } = metadataOf(announced.head);
    const objects = new Map<string, Bytes>();
    let held = 0;
    for (const id of wanted) {
      const object = await this.#object(node, run, id);
      objects.set(id, object);
      held += object.length;
      if (held > LARGEST) throw new CallFailedError("gone", `a message of more than ${LARGEST} bytes`);
    }
    return { ...announced, objects };
  }

  /** Says that the message is here: the SuperLink deletes its objects. */
  async confirm(node: bigint, letter: Parcel): Promise<void> {
    const { run } = metadataOf(letter.head);
    await this.#call("confirm-message-received", calls.confirm(node, run, letter.id));
  }

  /** Announces a reply; said again while nobody has collected it, it opens another session. */
  async announce(node: bigint, reply: Parcel, seconds: number): Promise<Session> {
    const { session, missing } = calls.pushed(await this.#call("push-messages", calls.push(node, reply, seconds)));
    return { session, missing: [...reply.objects.keys()].filter((id) => missing.includes(id)) };
  }

  /** Sends one object of an announced reply. @throws CallFailedError also when the session is over (`gone`). */
  async upload(node: bigint, reply: Parcel, session: string, id: string): Promise<void> {
    const content = reply.objects.get(id);
    if (content === undefined) throw new CallFailedError("gone", "an object of the reply is not here");
    const { run } = metadataOf(reply.head);
    const answer = await this.#call("push-object", calls.pushObject(node, { run, id, content, session }));
    if (!calls.stored(answer)) throw new CallFailedError("gone", "the reply is not taken any more");
  }

  /** One object, asked for until it is there. */
  async #object(node: bigint, run: bigint, id: string): Promise<Bytes> {
    let wait = FIRST_WAIT_MS;
    for (let waited = 0; waited < PULL_MS; waited += wait, wait = Math.min(2 * wait, LONGEST_WAIT_MS)) {
      const found = calls.pulledObject(await this.#call("pull-object", calls.pullObject(node, run, id), OBJECT));
      if (found === "gone") throw new CallFailedError("gone", "an object of the message is gone");
      if (found !== "missing") return found;
      await this.sleep(wait);
    }
    throw new CallFailedError("gone", "an object of the message does not come");
  }

  async #call(call: string, body: Bytes, longest = SMALL): Promise<Bytes> {
    const stamp = new Date(this.line.now).toISOString();
    const headers = {
      "content-type": MEDIA,
      accept: MEDIA,
      "flwr-public-key": this.#header,
      "flwr-timestamp": stamp,
      "flwr-signature": toBase64(await this.line.sign(stamp)),
    };
    return this.line.post(`/v1/fleet/${call}`, body, headers, longest);
  }
}

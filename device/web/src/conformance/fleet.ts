/** Letters and calls against `fleet.json`, which Flower made. */

import { fromUtf8, toHex, type Bytes } from "../bytes.ts";
import { InputError } from "../errors.ts";
import * as calls from "../fleet/calls.ts";
import { identifiers, open, pack, replyTo, type Letter, type Metadata, type Parcel } from "../fleet/letter.ts";
import { same, thrown, type Case } from "./check.ts";
import { bytesOf } from "./hex.ts";

interface Message {
  readonly why: string;
  readonly id: string;
  readonly metadata: {
    run: string;
    from: string;
    to: string;
    reply_to: string;
    group: string;
    kind: string;
    created_at: string;
    ttl: string;
    tasks: readonly [string | null, string | null];
  };
  readonly error: string | null;
  readonly fields: Readonly<Record<string, string | readonly string[]>>;
  readonly head: string;
  readonly tree: string;
  readonly objects: Readonly<Record<string, string>>;
}
interface Call {
  readonly call: string;
  readonly request: string;
  readonly response: string;
}
interface Vectors {
  readonly node: string;
  readonly messages: readonly Message[];
  readonly calls: readonly Call[];
  readonly signatures: readonly { raw: string; der: string }[];
}

export function fleetCases(file: unknown): Case[] {
  const { node, messages, calls: made, signatures } = file as Vectors;
  const first = messages[0];
  if (first === undefined) return [];
  return [
    ...messages.map((message) => ({
      name: message.why,
      run: async () => {
        await checkMessage(message);
      },
    })),
    ...made.map((call, i) => ({
      name: `${call.call} ${i}`,
      run: () => {
        checkCall(call, BigInt(node), first);
      },
    })),
    ...signatures.map(({ raw, der }, i) => ({
      name: `signature ${i}`,
      run: () => {
        same(toHex(calls.derSignature(bytesOf(raw))), der, "DER");
      },
    })),
  ];
}

function letterOf({ metadata: m, fields, error }: Message): Letter {
  const metadata: Metadata = {
    run: BigInt(m.run),
    from: BigInt(m.from),
    to: BigInt(m.to),
    replyTo: m.reply_to,
    group: m.group,
    kind: m.kind,
    createdAt: Number(m.created_at),
    ttl: Number(m.ttl),
    ...(m.tasks[0] !== null && { fromTask: BigInt(m.tasks[0]) }),
    ...(m.tasks[1] !== null && { toTask: BigInt(m.tasks[1]) }),
  };
  const content = Object.entries(fields).map(
    ([name, value]) => [name, typeof value === "string" ? bytesOf(value) : value.map(bytesOf)] as const,
  );
  return { metadata, content: new Map(content), ...(error !== null && { failure: error }) };
}

function parcelOf({ id, head, tree, objects }: Message): Parcel {
  const contents = Object.entries(objects).map(([name, content]) => [name, bytesOf(content)] as const);
  return { id, head: bytesOf(head), tree: bytesOf(tree), objects: new Map(contents) };
}

function shown({ metadata, content, failure }: Letter): string {
  const fields = [...content].map(([name, value]) => [
    name,
    value instanceof Uint8Array ? toHex(value) : value.map(toHex),
  ]);
  const said = { ...metadata, fields, failure };
  return JSON.stringify(said, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));
}

async function checkMessage(message: Message): Promise<void> {
  const [letter, given] = [letterOf(message), parcelOf(message)];
  const made = pack(letter);
  same(made.id, message.id, "id");
  same(toHex(made.head), message.head, "head");
  same(toHex(made.tree), message.tree, "tree");
  for (const [name, content] of made.objects) same(toHex(content), message.objects[name] ?? "", "object");
  same([...made.objects.keys()].sort().join(), Object.keys(message.objects).sort().join(), "objects");
  same(identifiers(given.tree).sort().join(), Object.keys(message.objects).sort().join(), "tree's identifiers");
  same(shown(open(given)), shown(letter), "letter");
  const reply = replyTo(letter.metadata, message.id, letter.metadata.createdAt + 1);
  same(
    [reply.from, reply.to, reply.ttl, reply.replyTo].join(),
    [message.metadata.to, message.metadata.from, letter.metadata.ttl - 1, message.id].join(),
    "reply",
  );
  for (const [name, content] of given.objects) {
    const changed = Uint8Array.from(content);
    changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1;
    await thrown(InputError, () => open({ ...given, objects: new Map([...given.objects, [name, changed]]) }));
  }
}

function checkCall({ call, request, response }: Call, node: bigint, asked: Message): void {
  const answer = bytesOf(response);
  const { run } = letterOf(asked).metadata;
  const parcel = parcelOf(asked);
  const [id = "", second = ""] = parcel.objects.keys();
  const made: Readonly<Record<string, () => readonly [Bytes, string, string]>> = {
    "activate-node": () => [calls.activate(pemIn(bytesOf(request)), 30), String(calls.activated(answer)), String(node)],
    "send-node-heartbeat": () => [calls.heartbeat(node, 30), String(calls.alive(answer)), String(response !== "")],
    "pull-messages": () => {
      const got = calls.pulled(answer);
      return [
        calls.pull(node),
        got ? [got.id, toHex(got.head), toHex(got.tree)].join() : "",
        response === "" ? "" : [asked.id, asked.head, asked.tree].join(),
      ];
    },
    "pull-object": () => {
      const got = calls.pulledObject(answer);
      return [calls.pullObject(node, run, id), typeof got === "string" ? got : fromUtf8(got), "an object"];
    },
    "confirm-message-received": () => [calls.confirm(node, run, asked.id), response, ""],
    "push-messages": () => {
      const { session, missing } = calls.pushed(answer);
      return [calls.push(node, parcel, 0.5), [session, ...missing].join(), ["a session", id, second].join()];
    },
    "push-object": () => {
      const content = parcel.objects.get(id) ?? new Uint8Array();
      return [calls.pushObject(node, { run, id, content, session: "a session" }), String(calls.stored(answer)), "true"];
    },
    "deactivate-node": () => [calls.deactivate(node), response, ""],
  };
  const found = made[call];
  if (found === undefined) throw new Error(`no such call: ${call}`);
  const [body, got, wanted] = found();
  same(toHex(body), request, "request");
  same(got, wanted, "answer");
}

/** The key of the request, taken apart and put together again. */
function pemIn(request: Bytes): Bytes {
  const text = /-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/=\n]+)-----END PUBLIC KEY-----\n/.exec(
    String.fromCharCode(...request),
  )?.[1];
  if (text === undefined) throw new Error("no key in the request");
  return calls.publicPem(Uint8Array.from(atob(text.replaceAll("\n", "")), (c) => c.charCodeAt(0)));
}

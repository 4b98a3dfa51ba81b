/**
 * Flower's messages in parts: a head, a tree of identifiers, and the objects that these name. Ours hold one record,
 * `skerry`, of byte strings, so a letter has three objects: Message, RecordDict and ConfigRecord.
 *
 *     object = <class> SP <child ids joined by ","> SP <decimal body length> NUL <body>, id = hex SHA-256 of all of it
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { concat, toHex, utf8, type Bytes } from "../bytes.ts";
import { InputError } from "../errors.ts";
import { asText, Fields, Writer } from "./protobuf.ts";

const RECORD = "skerry";
const DEEPEST = 8;

/** What a message says of itself; node, run and task numbers go beyond 2^53. Times in seconds since the epoch. */
export interface Metadata {
  readonly run: bigint;
  readonly from: bigint;
  readonly to: bigint;
  readonly replyTo: string;
  readonly group: string;
  readonly kind: string;
  readonly createdAt: number;
  readonly ttl: number;
  /** Of the sender and of the receiver, where they have one. */
  readonly fromTask?: bigint;
  readonly toTask?: bigint;
}

/** Byte strings of the record, by name. */
export type Content = ReadonlyMap<string, Bytes | readonly Bytes[]>;

/** A message as it travels. */
export interface Parcel {
  readonly id: string;
  readonly head: Bytes;
  readonly tree: Bytes;
  readonly objects: ReadonlyMap<string, Bytes>;
}

/** A message as it is worked on; `failure` is what an error reply says. */
export interface Letter {
  readonly metadata: Metadata;
  readonly content: Content;
  readonly failure?: string;
}

interface Node {
  readonly id: string;
  readonly children: readonly Node[];
}

const FAILED = 2n; // Flower's code of a ClientApp that raised

/** A letter in parts: every byte as Flower makes them, so that identifiers agree. */
export function pack({ metadata, content, failure }: Letter): Parcel {
  const objects = new Map<string, Bytes>();
  const add = (kind: string, children: readonly Node[], body: Bytes): Node => {
    const head = utf8(`${kind} ${children.map((child) => child.id).join(",")} ${body.length}\0`);
    const object = concat([head, body]);
    const id = toHex(sha256(object));
    objects.set(id, object);
    return { id, children };
  };
  const children: Node[] = [];
  if (failure === undefined) {
    const record = add("ConfigRecord", [], recordBytes(content));
    children.push(add("RecordDict", [record], utf8(`{"${RECORD}": "${record.id}"}`)));
  }
  const root = add("Message", children, headBytes(metadata, "", failure, false));
  return { id: root.id, head: headBytes(metadata, root.id, failure, true), tree: treeBytes(root).done(), objects };
}

/**
 * The letter that the parts make; every object must be the one that it is named by.
 *
 * @throws InputError when they make none of ours.
 */
export function open({ id, head, objects }: Parcel): Letter {
  const message = read(objects, id, "Message");
  const outside = new Fields(head);
  const metadata = metadataOf(head);
  const failure = outside.has(3) ? new Fields(outside.bytes(3)).text(2) : undefined;
  if (toHex(message.body) !== toHex(headBytes(metadata, "", failure, false))) {
    throw new InputError("the message's head is not that of its object");
  }
  if (failure !== undefined) return { metadata, content: new Map(), failure };
  const records = read(objects, only(message.children), "RecordDict");
  const record = only(records.children);
  if (asText(records.body) !== `{"${RECORD}": "${record}"}`) throw new InputError("the message has other records");
  return { metadata, content: readRecord(read(objects, record, "ConfigRecord").body) };
}

/** What a message's head says. @throws InputError when it is none. */
export function metadataOf(head: Bytes): Metadata {
  return readMetadata(new Fields(new Fields(head).bytes(1)));
}

/** Identifiers of a tree, each once. @throws InputError when it is none, or deeper than a message is. */
export function identifiers(tree: Bytes): string[] {
  const found = new Set<string>();
  const walk = (data: Bytes, deeper: number): void => {
    if (deeper < 1) throw new InputError("a tree is deeper than a message");
    const node = new Fields(data);
    for (const child of node.all(2)) walk(child, deeper - 1);
    found.add(node.text(1));
  };
  walk(tree, DEEPEST);
  return [...found];
}

/** What a reply says of itself: it goes back where the message came from, and dies with it. `now` in seconds. */
export function replyTo(asked: Metadata, id: string, now: number): Metadata {
  const { run, group, kind } = asked;
  const ttl = asked.createdAt + asked.ttl - now;
  return {
    ...{ run, group, kind, from: asked.to, to: asked.from, replyTo: id, createdAt: now, ttl },
    ...(asked.toTask !== undefined && { fromTask: asked.toTask }),
    ...(asked.fromTask !== undefined && { toTask: asked.fromTask }),
  };
}

function recordBytes(content: Content): Bytes {
  const record = new Writer();
  for (const [name, value] of content) {
    const held = new Writer();
    if (value instanceof Uint8Array) held.bytes(6, value, true);
    else if (value.length === 0)
      held.message(24, new Writer()); // an empty list has no kind: Flower calls it one of bools
    else {
      const list = new Writer();
      for (const part of value) list.bytes(1, part, true);
      held.message(26, list);
    }
    record.message(1, new Writer().text(1, name).message(2, held));
  }
  return record.done();
}

function readRecord(body: Bytes): Content {
  const content = new Map<string, Bytes | readonly Bytes[]>();
  for (const item of new Fields(body).all(1)) {
    const pair = new Fields(item);
    content.set(pair.text(1), readValue(new Fields(pair.bytes(2))));
  }
  return content;
}

function readValue(value: Fields): Bytes | readonly Bytes[] {
  if (value.has(6)) return value.bytes(6);
  if (value.has(26)) return new Fields(value.bytes(26)).all(1);
  if (value.has(24) && value.bytes(24).length === 0) return [];
  throw new InputError("the record holds something else than bytes");
}

function headBytes(metadata: Metadata, id: string, failure: string | undefined, withContent: boolean): Bytes {
  const said = new Writer()
    .uint64(1, metadata.run)
    .text(2, id)
    .uint64(3, metadata.from)
    .uint64(4, metadata.to)
    .text(5, metadata.replyTo)
    .text(6, metadata.group)
    .double(7, metadata.ttl)
    .text(8, metadata.kind)
    .double(9, metadata.createdAt);
  if (metadata.fromTask !== undefined) said.uint64(10, metadata.fromTask, true);
  if (metadata.toTask !== undefined) said.uint64(11, metadata.toTask, true);
  const head = new Writer().message(1, said);
  if (failure !== undefined) return head.message(3, new Writer().sint64(1, FAILED).text(2, failure)).done();
  // present and empty: without it the server drops the message and says nothing
  return (withContent ? head.message(2, new Writer()) : head).done();
}

function readMetadata(fields: Fields): Metadata {
  return {
    run: fields.uint64(1),
    from: fields.uint64(3),
    to: fields.uint64(4),
    replyTo: fields.text(5),
    group: fields.text(6),
    kind: fields.text(8),
    createdAt: fields.double(9),
    ttl: fields.double(7),
    ...(fields.has(10) && { fromTask: fields.uint64(10) }),
    ...(fields.has(11) && { toTask: fields.uint64(11) }),
  };
}

function treeBytes(node: Node): Writer {
  const written = new Writer().text(1, node.id);
  for (const child of node.children) written.message(2, treeBytes(child));
  return written;
}

function read(objects: ReadonlyMap<string, Bytes>, id: string, wanted: string): { children: string[]; body: Bytes } {
  const object = objects.get(id);
  if (object === undefined || toHex(sha256(object)) !== id)
    throw new InputError("an object is not the one it is named by");
  const end = object.indexOf(0);
  const [kind, children = "", length, ...more] = asText(object.subarray(0, Math.max(end, 0))).split(" ");
  const body = object.subarray(end + 1);
  if (kind !== wanted || more.length > 0 || length !== String(body.length)) throw new InputError(`not a ${wanted}`);
  return { children: children === "" ? [] : children.split(","), body };
}

function only(children: readonly string[]): string {
  const [child, ...more] = children;
  if (child === undefined || more.length > 0) throw new InputError("a message of ours has one record");
  return child;
}

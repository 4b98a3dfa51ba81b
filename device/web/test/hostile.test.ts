/** What strangers send ends in the error that says so, and what is merely long is worked on. */

import { createHash } from "node:crypto";
import { expect, it } from "vitest";
import { fromHex, toHex, utf8, type Bytes } from "../src/bytes.ts";
import { decode, encode } from "../src/canonical/index.ts";
import { InputError } from "../src/errors.ts";
import { open, pack, type Parcel } from "../src/fleet/letter.ts";

const METADATA = { run: 1n, from: 2n, to: 3n, replyTo: "", group: "", kind: "train", createdAt: 1, ttl: 1 };
const ATTACKED = ["Message", "RecordDict", "ConfigRecord"];

function idOf(object: Bytes): string {
  return createHash("sha256").update(object).digest("hex");
}

/** A parcel that fits together, but that one object's bytes are others, as are the names of those above it. */
function parcelWith(kind: string, change: (object: Bytes) => Bytes): Parcel {
  const good = pack({ metadata: METADATA, content: new Map([["a", utf8("b")]]) });
  const objects = new Map<string, Bytes>();
  const renamed = new Map<string, string>();
  let id = good.id;
  for (const [name, object] of good.objects) {
    let hex = toHex(object); // children stand before their parents
    for (const [before, after] of renamed) hex = hex.replaceAll(toHex(utf8(before)), toHex(utf8(after)));
    let changed = fromHex(hex) ?? new Uint8Array();
    if (new TextDecoder().decode(object).startsWith(`${kind} `)) changed = change(changed);
    id = idOf(changed);
    renamed.set(name, id);
    objects.set(id, changed);
  }
  return { ...good, id, objects };
}

it("opens a parcel of which nothing was changed", () => {
  expect(open(parcelWith("none", (object) => object)).content.get("a")).toEqual(utf8("b"));
});

it.each(ATTACKED)("refuses a %s whose head is no text", (kind) => {
  const hostile = parcelWith(kind, (object) => Uint8Array.from([0xff, ...object]));
  expect(() => open(hostile)).toThrow(InputError);
});

it.each(ATTACKED)("refuses a %s whose body is no text", (kind) => {
  const hostile = parcelWith(kind, (object) => object.map((byte, i) => (i > object.indexOf(0) ? 0xff : byte)));
  expect(() => open(hostile)).toThrow(InputError);
});

it("encodes and reads a list of 300 000 numbers", () => {
  const list = Array.from({ length: 300_000 }, (_, i) => i % 24);
  const bytes = encode(list);
  expect(bytes.length).toBe(300_005);
  expect(decode(bytes)).toHaveLength(list.length);
});

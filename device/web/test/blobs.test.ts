/** Blobs of a release come in ranges that are kept, no more of them than was signed, and whole or not at all. */

import "fake-indexeddb/auto";
import { sha256 } from "@noble/hashes/sha2.js";
import { beforeEach, describe, expect, it } from "vitest";
import { CallFailedError, TooLongError, whole } from "../src/agent/line.ts";
import { toHex, type Bytes } from "../src/bytes.ts";
import { Blobs } from "../src/delivery/blobs.ts";
import type { Get } from "../src/delivery/download.ts";
import { Database } from "../src/storage/database.ts";

const RANGE = 1 << 18;
const BLOB: Bytes = Uint8Array.from({ length: 2 * RANGE + 5 }, (_, i) => i % 253);
const DIGEST = toHex(sha256(BLOB));

let database: Database;
let asked: string[];
let count = 0;

beforeEach(async () => {
  database = await Database.open(`blobs ${count++}`);
  asked = [];
});

/** A gateway that has one blob; `change` makes another answer of the one that is right. */
function serving(change: (content: Bytes, at: number) => Bytes = (content) => content): Get {
  return async (_path, headers, longest) => {
    const range = headers["range"] ?? "";
    asked.push(range);
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? [];
    const content = change(BLOB.slice(Number(first), Number(last) + 1), Number(first));
    const answer = new Response(content, { status: 206 });
    return { status: 206, headers: answer.headers, content: await whole(answer, longest) };
  };
}

function taken(get: Get): Promise<Bytes> {
  return new Blobs(database, get).blob(DIGEST, BLOB.length);
}

const broken: Get = () => Promise.reject(new CallFailedError("unreachable", "gone"));

describe("a blob", () => {
  it("goes on where a page that is no more had stopped", async () => {
    let left = 2;
    const stopping: Get = (...given) => (left-- > 0 ? serving()(...given) : broken(...given));
    await expect(taken(stopping)).rejects.toThrow("gone");
    asked = [];
    expect(toHex(sha256(await taken(serving())))).toBe(DIGEST);
    expect(asked).toEqual([`bytes=${2 * RANGE}-${2 * RANGE + 4}`]);
    asked = [];
    await taken(broken); // all of it is here
    expect(asked).toEqual([]);
  });

  it("is fetched anew when what was kept is damaged, and refused when what comes is", async () => {
    await taken(serving());
    await database.write([{ store: "releases", key: `${DIGEST}#000001`, value: new Uint8Array(RANGE) }]);
    expect(toHex(sha256(await taken(serving())))).toBe(DIGEST);
    await new Blobs(database, broken).drop("");
    const evil = serving((content, at) => (at === 0 ? content.map((one) => one ^ 1) : content));
    await expect(taken(evil)).rejects.toMatchObject({ reason: "wrong_hash" });
    expect(await database.keys("releases")).toEqual([]);
  });

  it("is refused when it does not end", async () => {
    const endless = serving((content) => new Uint8Array(2 * content.length));
    await expect(taken(endless)).rejects.toMatchObject({ reason: "endless_data" });
    expect(await database.keys("releases")).toEqual([]);
  });

  it("is not taken from an answer that is shorter than what was asked for", async () => {
    await expect(taken(serving((content) => content.slice(1)))).rejects.toThrow(CallFailedError);
    expect(await database.keys("releases")).toEqual([]);
  });

  it("leaves no other behind", async () => {
    await taken(serving());
    await new Blobs(database, broken).drop("ab".repeat(32), true);
    expect(await database.keys("releases")).toEqual([]);
  });
});

it("reads no more of an answer than it may have", async () => {
  let given = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      given += 1000;
      controller.enqueue(new Uint8Array(1000));
    },
  });
  await expect(whole(new Response(body), 5000)).rejects.toThrow(TooLongError);
  expect(given).toBeLessThan(10_000);
});

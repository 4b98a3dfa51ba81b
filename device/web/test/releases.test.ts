/** Which head a phone guesses by, whatever its clock says, and what it tells of a repository without a model for it. */

import "fake-indexeddb/auto";
import { beforeEach, describe, expect, it } from "vitest";
import { newKeys, type Keys } from "../src/agent/keys.ts";
import { GatewayLine } from "../src/agent/line.ts";
import { Releases, type Around } from "../src/agent/releases.ts";
import { Rounds } from "../src/agent/rounds.ts";
import { Desk } from "../src/agent/desk.ts";
import { Standing } from "../src/agent/standing.ts";
import { toHex, utf8 } from "../src/bytes.ts";
import { Bases, type Base } from "../src/delivery/base.ts";
import { canonicalJson } from "../src/delivery/trust/canonical_json.ts";
import { newest, NoSuchModelError } from "../src/delivery/trust/trust.ts";
import { readJson } from "../src/json/read.ts";
import { Database } from "../src/storage/database.ts";

const NOW = Date.UTC(2026, 4, 3, 12);
const HOUR = 3_600_000;
const DIGEST = "ab".repeat(32);
const BASE = { digest: DIGEST, initial: new Float32Array(3) } as unknown as Base;
const ROWS = { x: new Float64Array(), y: new Uint8Array() };

let database: Database;
let count = 0;

beforeEach(async () => {
  database = await Database.open(`releases ${count++}`);
});

async function installed(created: number): Promise<Releases> {
  const release = { version: 4, digest: "cd", keys: "ef", created, at: NOW, base: DIGEST, vector: new Float32Array(3) };
  await database.write([{ store: "state", key: "release", value: release }]);
  return Releases.open(database);
}

describe("the head to guess by", () => {
  it.each([
    { made: NOW + HOUR, phone: NOW + 5 * HOUR, wanted: 4 },
    { made: NOW - HOUR, phone: NOW - 5 * HOUR, wanted: undefined },
  ])("is the one made last, when the phone's clock is hours off", async ({ made, phone, wanted }) => {
    const releases = await installed(made);
    const rounds = await Rounds.open(database);
    const came = { base: BASE, vector: new Float32Array(3), rows: ROWS as never, issued: NOW };
    await rounds.answered({ run: "r", round: 2, examples: 0, refused: null, came }, phone);
    for (const now of [rounds, await Rounds.open(database)]) {
      expect(releases.headOver(BASE, now.headMade)?.version).toBe(wanted);
    }
    expect(rounds.seen[0]?.at).toBe(phone); // its owner is told by the phone's own clock
  });
});

/** A repository that is signed as it should be and has no release, but may have a role for it; the files by their paths. */
async function empty(delegates: boolean, expires = NOW + 24 * HOUR): Promise<Map<string, string>> {
  const pair = await crypto.subtle.generateKey("Ed25519", true, ["sign", "verify"]);
  const raw = toHex(new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)));
  const keys = { it: { keytype: "ed25519", scheme: "ed25519", keyval: { public: raw } } };
  const role = { keyids: ["it"], threshold: 1 };
  const roles = { root: role, timestamp: role, snapshot: role, targets: role };
  const listed = (...names: string[]) => ({ meta: Object.fromEntries(names.map((name) => [name, { version: 1 }])) });
  const digits = { name: "digits", ...role, paths: ["digits/*"], terminating: true };
  const delegations = { keys, roles: delegates ? [digits] : [] };
  const signed = async (type: string, said: object): Promise<string> => {
    const ends = `${new Date(expires).toISOString().slice(0, 19)}Z`;
    const body = JSON.stringify({ _type: type, spec_version: "1.0.31", version: 1, expires: ends, ...said });
    const payload = utf8(canonicalJson(readJson(body)));
    const sig = toHex(new Uint8Array(await crypto.subtle.sign("Ed25519", pair.privateKey, payload)));
    return `{"signed":${body},"signatures":[{"keyid":"it","sig":"${sig}"}]}`;
  };
  return new Map([
    ["metadata/1.root.json", await signed("root", { keys, roles })],
    ["metadata/timestamp.json", await signed("timestamp", listed("snapshot.json"))],
    ["metadata/1.snapshot.json", await signed("snapshot", listed("targets.json", "digits.json"))],
    ["metadata/1.targets.json", await signed("targets", { targets: {}, delegations })],
    ["metadata/1.digits.json", await signed("targets", { targets: {} })],
  ]);
}

async function around(files: ReadonlyMap<string, string>, clock = NOW): Promise<Around> {
  const keys: Keys = await newKeys("phone-1", NOW);
  await database.write([{ store: "state", key: "keys", value: keys }]);
  const ask = (path: string): Promise<Response> => {
    const text = files.get(path.replace("/v1/repository/", ""));
    return Promise.resolve(text === undefined ? new Response("", { status: 404 }) : new Response(text));
  };
  return {
    standing: new Standing(database, new Desk(ask), () => clock),
    line: new GatewayLine("phone-1", keys.device.privateKey, () => clock, ask),
    bases: new Bases(database),
    clock: () => clock,
    monotonic: () => 0,
    step: () => undefined,
  };
}

describe("a repository without a model for phones", () => {
  it.each([false, true])("is as one that has released nothing (with a role for it: %s)", async (delegates) => {
    const files = await empty(delegates);
    const root = utf8(files.get("metadata/1.root.json") ?? "");
    const read = (path: string) => {
      const text = files.get(path);
      return Promise.resolve(text === undefined ? undefined : utf8(text));
    };
    await expect(newest({ root, floor: 0, roles: {} }, "digits", read, NOW)).rejects.toThrow(NoSuchModelError);
    const releases = await Releases.open(database);
    expect(await releases.look(await around(files))).toBe(false);
    expect(releases.shown).toBeNull();
  });

  it.each([false, true])("is told where a version is installed (with a role for it: %s)", async (delegates) => {
    const releases = await installed(NOW);
    expect(await releases.look(await around(await empty(delegates)))).toBe(true);
    expect(releases.shown).toMatchObject({
      version: 4,
      refused: { sentence: expect.stringContaining("no model digits") as string },
    });
  });

  it("that has expired by a phone's clock, and by nothing else, has that clock checked", async () => {
    const releases = await Releases.open(database);
    await releases.look(await around(await empty(true, NOW + HOUR), NOW + 2 * HOUR));
    expect(releases.shown?.refused).toMatchObject({ code: "expired" });
    expect(releases.shown?.refused?.sentence).toContain("check this phone's clock");
  });
});

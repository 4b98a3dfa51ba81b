/** A place in a federation: who certifies it, how it is renewed, given up, and taken anew. */

import "fake-indexeddb/auto";
import { beforeEach, describe, expect, it } from "vitest";
import { Desk } from "../src/agent/desk.ts";
import { fingerprintOf } from "../src/agent/keys.ts";
import { Leaving } from "../src/agent/leaving.ts";
import { USUAL_TERMS } from "../src/agent/phone.ts";
import { Standing } from "../src/agent/standing.ts";
import { RefusedError } from "../src/errors.ts";
import { Certificate } from "../src/security/certificate.ts";
import { Database } from "../src/storage/database.ts";
import { certified, DAY, Federation, NOW } from "./federation.ts";

let federation: Federation;
let database: Database;
let standing: Standing;
let now: number;
let count = 0;

beforeEach(async () => {
  now = NOW;
  federation = await Federation.open();
  database = await Database.open(`standing ${count++}`);
  standing = new Standing(database, new Desk(federation.ask), () => now);
});

async function join(name = "phone-1", ended = false): Promise<void> {
  await standing.apply(federation.invitation, name, USUAL_TERMS, [], ended);
  await standing.ask();
}

describe("a certificate", () => {
  const uri = "spiffe://harbour/device/phone-1";

  async function one(times = {}, by = federation): Promise<Certificate> {
    const root = Certificate.read(federation.root.certificate);
    return Certificate.read(await certified("phone-1", root.key, by.issuer, { uri, ...times }));
  }

  it("of the federation holds in its time, and says whose it is", async () => {
    const certificate = await one();
    const issuer = Certificate.read(federation.issuer.certificate);
    await certificate.checkIssued(issuer, NOW);
    expect([certificate.uri, certificate.isAuthority, certificate.isForClients]).toEqual([uri, false, true]);
    expect(certificate.renewAt).toBe(NOW - DAY + Math.floor((31 * DAY * 2) / 3));
  });

  it.each([
    ["certificate_expired", { ends: NOW }],
    ["certificate_not_yet_valid", { begins: NOW + 1000 }],
  ])("is refused as %s", async (reason, times) => {
    const issuer = Certificate.read(federation.issuer.certificate);
    await expect((await one(times)).checkIssued(issuer, NOW)).rejects.toMatchObject({ reason });
  });

  it("of another federation is refused, though it has the same names, and so is one that no authority issued", async () => {
    const issuer = Certificate.read(federation.issuer.certificate);
    const foreign = await one({}, await Federation.open());
    await expect(foreign.checkIssued(issuer, NOW)).rejects.toMatchObject({ reason: "foreign_certificate" });
    const leaf = await one();
    await expect(leaf.checkIssued(leaf, NOW)).rejects.toMatchObject({ reason: "foreign_certificate" });
  });

  it("with a byte changed is not one of the federation", async () => {
    const issuer = Certificate.read(federation.issuer.certificate);
    const { der } = await one();
    const changed = Uint8Array.from(der);
    const at = changed.indexOf(0x86) + 12; // within the name
    changed[at] = (changed[at] ?? 0) ^ 1;
    await expect(Certificate.read(changed).checkIssued(issuer, NOW)).rejects.toThrow(RefusedError);
  });
});

describe("a renewal", () => {
  it("is due at two thirds, and brings a certificate of the same key and a newer sealing key", async () => {
    await join();
    const [before, keys] = [await standing.member(), await standing.keys()];
    expect(await standing.due()).toBe(false);
    now = federation.now = NOW + 21 * DAY;
    expect(await standing.due()).toBe(true);
    await standing.renew();
    const [after, renewed] = [await standing.member(), await standing.keys()];
    expect(after?.certificate.ends).toBe(now + federation.life);
    expect(after?.certificate.key).toEqual(before?.certificate.key);
    expect(renewed?.kem.taken).toBeGreaterThan(keys?.kem.taken ?? Infinity);
    expect(federation.came.at(-1)?.path).toBe("/.well-known/est/simplereenroll");
    expect(await standing.due()).toBe(false);
  });

  it("whose answer was lost is asked for again under the same attempt", async () => {
    await join();
    now = federation.now = NOW + 21 * DAY;
    federation.down = true;
    await expect(standing.renew()).rejects.toThrow("does not answer");
    const attempt = ((await database.get("state", "attempt")) as { id: Uint8Array }).id;
    federation.down = false;
    await standing.renew();
    expect(federation.came.find(({ path }) => path.endsWith("reenroll"))?.fields.get("attempt")).toEqual(attempt);
    expect(await database.get("state", "attempt")).toBeUndefined();
  });

  it("that another federation answers changes nothing", async () => {
    await join();
    const before = (await standing.member())?.certificate.der;
    const other = new Standing(database, new Desk((await Federation.open()).ask), () => now);
    await expect(other.renew()).rejects.toThrow(RefusedError);
    expect((await standing.member())?.certificate.der).toEqual(before);
  });
});

describe("leaving", () => {
  const leaving = (): Leaving => new Leaving(new Desk(federation.ask), () => now);

  it("tells the federation with the serial of the certificate, and takes its signed word", async () => {
    await join();
    await leaving().tell(standing);
    const { path, fields } = federation.came.at(-1) ?? { path: "", fields: new Map() };
    expect(path).toBe("/v1/leave");
    const serial = (await standing.member())?.certificate.serial;
    expect(fields).toEqual(new Map(Object.entries({ federation: "harbour", name: "phone-1", serial, issued: NOW })));
  });

  it("says that it was not told, once; who leaves once more leaves without", async () => {
    await join();
    federation.down = true;
    const one = leaving();
    await expect(one.tell(standing)).rejects.toMatchObject({ reason: "not_told" });
    await expect(one.tell(standing)).resolves.toBeUndefined();
  });

  it("takes no other word for it: another status, or another federation's", async () => {
    await join();
    federation.status = "pending";
    await expect(leaving().tell(standing)).rejects.toMatchObject({ reason: "not_told" });
    const other = await Federation.open();
    const told = new Leaving(new Desk(other.ask), () => now).tell(standing);
    await expect(told).rejects.toMatchObject({ reason: "not_told" });
  });

  it("of a phone that was put out before has nothing to tell, nor has one that never joined", async () => {
    await leaving().tell(standing);
    expect(federation.came).toEqual([]);
    await join();
    federation.refuse = "revoked";
    await leaving().tell(standing);
  });
});

it("a place that has ended gives way to another, with what was under way in it; one that holds does not", async () => {
  await join();
  const before = await standing.keys();
  await database.write([{ store: "state", key: "letter", value: "of the old place" }]);
  await expect(join("phone-2")).rejects.toThrow("applied already");
  await join("phone-2", true);
  expect((await standing.member())?.certificate.uri).toBe("spiffe://harbour/device/phone-2");
  expect(await database.get("state", "letter")).toBeUndefined();
  const after = await standing.keys();
  if (before === undefined || after === undefined) throw new Error("no keys");
  expect(await fingerprintOf(after)).not.toBe(await fingerprintOf(before));
  expect(await fingerprintOf(after)).toMatch(/^[0-9a-f]{64}$/);
});

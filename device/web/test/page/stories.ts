/** Every state of the page, each under its name behind the address's `#`, with a phone in memory. */

import type { InviteLink, PhoneView, Picture, RoundSeen } from "../../src/agent/phone.ts";
import { InputError } from "../../src/errors.ts";
import { mount } from "../../src/page/app.ts";
import "../../src/page/phone.css";
import { MemoryPhone } from "./memory_phone.ts";

const NOON = Date.UTC(2026, 4, 3, 12, 0);
const MEMBER: Partial<PhoneView> = {
  membership: "member",
  name: "phone-k3v9",
  federation: "harbour",
  base: { digest: "ab".repeat(32), bytes: 4_312_000 },
};
const ROUNDS: readonly RoundSeen[] = [
  { run: "20260503-115204-digits", round: 3, at: NOON, examples: 12, refused: null, before: 0.75, after: null },
  { run: "20260503-115204-digits", round: 2, at: NOON - 90_000, examples: 12, refused: null, before: 0.58, after: 0.75 },
  {
    run: "20260502-090113-digits", round: 7, at: NOON - 86_400_000, examples: 0, before: null, after: null,
    refused: { code: "budget", sentence: "the round would have spent more than this phone allows." },
  },
]; // prettier-ignore
const SPENT: PhoneView["privacy"] = {
  unit: "example",
  relation: "add/remove",
  epsilon: 8,
  spent: 2.137,
  left: 5.863,
  delta: 1e-5,
};

const VIEWS: Readonly<Record<string, Partial<PhoneView>>> = {
  none: {},
  invited: {},
  late: {},
  refused: {},
  enrolling: {},
  waiting: { membership: "waiting", name: "phone-k3v9", federation: "harbour", fingerprint: "c0ffee5eed5a1107".repeat(4) },
  first: { ...MEMBER, base: null },
  member: { ...MEMBER, rounds: ROUNDS, privacy: SPENT },
  training: { ...MEMBER, activity: "training", progress: 0.4, rounds: ROUNDS, privacy: SPENT },
  fetching: { ...MEMBER, activity: "fetching", progress: 0.7, base: null },
  answering: { ...MEMBER, activity: "answering", rounds: ROUNDS, privacy: SPENT },
  paused: { ...MEMBER, activity: "paused", paused: true, rounds: ROUNDS, privacy: SPENT },
  pausing: { ...MEMBER, activity: "answering", paused: true, rounds: ROUNDS, privacy: SPENT },
  offline: { ...MEMBER, activity: "offline", rounds: ROUNDS, privacy: SPENT },
  clock: { ...MEMBER, clockOffsetSeconds: -7300, privacy: SPENT, reason: { code: "wrong_clock", sentence: "The gateway turned this phone away: its clock is wrong." } },
  evictable: { ...MEMBER, storage: "may be evicted", privacy: SPENT },
  lost: { ...MEMBER, storage: "lost" },
  "lost-outside": { storage: "lost" },
  "lost-waiting": { membership: "waiting", name: "phone-k3v9", federation: "harbour", storage: "lost" },
  "revoked-invited": { membership: "revoked", name: "phone-k3v9", federation: "harbour" },
  revoked: { membership: "revoked", name: "phone-k3v9", federation: "harbour" },
  ended: { membership: "ended", name: "phone-k3v9", federation: "harbour" },
}; // prettier-ignore

const story = location.hash.slice(1);
const phone = new MemoryPhone(VIEWS[story]);
if (story === "enrolling") phone.desk = "silent";
if (story === "refused") phone.desk = "refuse";
Object.assign(globalThis, { phone });

/** A digit drawn by code, so that there are thumbnails. */
function drawn(digit: number, side = 112): Picture {
  const context = document.createElement("canvas").getContext("2d");
  if (context === null) throw new Error("this browser does not draw");
  context.canvas.width = context.canvas.height = side;
  context.font = `${700 - 40 * (digit % 3)} ${0.8 * side}px sans-serif`;
  context.textAlign = "center";
  context.fillText(String(digit), side / 2 + (digit % 4) * 2 - 3, side * 0.78);
  const { data } = context.getImageData(0, 0, side, side);
  return { width: side, height: side, gray: new Uint8Array(side * side).map((_, at) => data[4 * at + 3] ?? 0) };
}

if (phone.view.membership === "member") {
  for (const digit of story === "first" ? [] : [3, 7, 1, 0, 8, 5, 2, 4, 9, 6, 7, 3])
    await phone.addExample(drawn(digit), digit);
}

const late = story === "late" ? -3_600_000 : 3_600_000;
const invite: InviteLink = {
  text: "skerry-enrol:AAAA", federation: "harbour", address: location.origin, deviceClass: "phone", expires: Date.now() + late,
}; // prettier-ignore
const read = (text: string): InviteLink => {
  if (!text.includes("skerry-enrol:")) throw new InputError("this is not an invitation");
  return invite;
};
const root = document.getElementById("app");
if (root === null) throw new Error("the page has no app");
const invited = ["invited", "late", "refused", "enrolling", "revoked-invited", "lost-outside"].includes(story);
mount(root, phone, { readInvite: read, invite: invited ? invite.text : null, suggested: "phone-k3v9" });

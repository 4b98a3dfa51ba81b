/** What the page takes for an invitation: one for phones, of a gateway's address, with a time that a calendar knows. */

import { expect, it } from "vitest";
import { readInvitation } from "../src/agent/link.ts";
import { toBase64Url } from "../src/bytes.ts";
import { encode, mapOf, type CborValue } from "../src/canonical/index.ts";
import { InputError } from "../src/errors.ts";

const GOOD: Readonly<Record<string, CborValue>> = {
  federation: "harbour",
  address: "https://fleet.example:8443",
  token: new Uint8Array(16),
  root: new Uint8Array(32),
  role: "device",
  device_class: "phone",
  expires: 1_800_000_000_000,
};

function invitation(also: Readonly<Record<string, CborValue>>): string {
  return `skerry-enrol:${toBase64Url(encode(mapOf({ ...GOOD, ...also })))}`;
}

it.each(["", "https://fleet.example:8443", "https://fleet.example/", "https://fleet.example:443"])(
  "of the address '%s' is taken",
  (address) => {
    expect(readInvitation(`https://x/phone/#${invitation({ address })}`).address).toBe(address);
  },
);

it.each<[string, Readonly<Record<string, CborValue>>]>([
  ["of another class", { device_class: "pi" }],
  ["for an operator", { role: "operator" }],
  ["of no address", { address: "no address" }],
  ["of https alone", { address: "https://" }],
  ["of a path", { address: "https://fleet.example/sub" }],
  ["of a program", { address: "javascript:alert(1)" }],
  ["without encryption", { address: "http://fleet.example" }],
  ["of somebody at a host", { address: "https://ann@fleet.example" }],
  ["beyond the calendar", { expires: 2 ** 53 - 1 }],
  ["before all time", { expires: -1 }],
])("%s is refused", (_, also) => {
  expect(() => readInvitation(invitation(also))).toThrow(InputError);
});

/** The phone in its Worker: one for an origin, so that two pages never write one ledger. */

import { RefusedError } from "../errors.ts";
import { Database } from "../storage/database.ts";
import { cacheWitness } from "../storage/witness.ts";
import { loadNetwork } from "../training/features.ts";
import { Device } from "./device.ts";
import { told, type Call, type Said } from "./messages.ts";
import type { Picture, Terms } from "./phone.ts";
import { FIRST_VIEW } from "./view.ts";

const NAME = "skerry-phone";

let device: Device | undefined;
let visible = true;

function say(said: Said): void {
  self.postMessage(said);
}

function answer(name: string, given: readonly unknown[]): unknown {
  if (device === undefined) {
    throw new RefusedError("other_page", "another page of this phone is open", "use that one, or close it");
  }
  const call = CALLS[name];
  if (call === undefined) throw new RefusedError("no_such_call", "the page is of another version", "reload it");
  return call(device, given);
}

const CALLS: Readonly<Record<string, (device: Device, given: readonly unknown[]) => unknown>> = {
  enrol: (phone, [text, name, terms]) => phone.enrol(text as string, name as string, terms as Terms),
  addExample: (phone, [picture, label]) => phone.addExample(picture as Picture, label as number),
  removeExample: (phone, [id]) => phone.removeExample(id as number),
  examples: (phone) => phone.examples(),
  guess: (phone, [picture]) => phone.guess(picture as Picture),
  pause: (phone, [paused]) => phone.pause(paused as boolean),
  leave: (phone, [erase]) => phone.leave(erase as boolean),
  refresh: (phone) => phone.refresh({}),
};

async function answered(id: number, name: string, given: readonly unknown[]): Promise<void> {
  try {
    await opened;
    say({ id, result: await answer(name, given) });
  } catch (error) {
    say({ id, error: told(error) });
  }
}

/** Opens the phone, and holds its lock for as long as the page lives. */
async function hold(): Promise<void> {
  device = await Device.open(
    {
      database: await Database.open(NAME),
      witness: cacheWitness,
      ask: (path, init) => fetch(path, init),
      origin: location.origin,
      clock: () => Date.now(),
      monotonic: () => performance.now(),
      random: Math.random,
      loadNetwork,
      persisted: () => navigator.storage.persisted(),
    },
    (view) => {
      say({ view });
    },
  );
  device.show(visible);
}

/** Settles when the phone is open, or another page has it. */
const opened = new Promise<void>((resolve, reject) => {
  const forGood = new Promise<never>(() => undefined);
  const take = async (lock: Lock | null): Promise<void> => {
    if (lock === null) {
      const reason = { code: "other_page", sentence: "another page of this phone is open: use that one, or close it" };
      say({ view: { ...FIRST_VIEW, activity: "offline", reason } });
      resolve();
      void navigator.locks.request(NAME, take);
      return;
    }
    try {
      await hold();
      resolve();
    } catch (error) {
      const { code, what } = told(error);
      say({ view: { ...FIRST_VIEW, activity: "offline", reason: { code, sentence: what } } });
      reject(error instanceof Error ? error : new Error("failed"));
      return;
    }
    await forGood;
  };
  void navigator.locks.request(NAME, { ifAvailable: true }, take);
});
opened.catch(() => undefined); // said in the view, and to every call

self.addEventListener("message", ({ data }: MessageEvent<Call>) => {
  if ("visible" in data) {
    visible = data.visible;
    device?.show(visible);
  } else void answered(data.id, data.name, data.given);
});

/** What the page says: sentences and numbers for people, from the phone's state alone. */

import type { Activity, PhoneView, Reason, RoundSeen } from "../agent/phone.ts";
import { checkMemberName } from "../agent/names.ts";
import { InputError, RefusedError, SkerryError } from "../errors.ts";

/** What the phone does now, in a title and a sentence. */
export interface Status {
  readonly tone: "calm" | "busy" | "still" | "trouble";
  readonly title: string;
  readonly detail: string;
}

/** Something that a person should know or do; `code` is stable. */
export interface Notice {
  readonly code: string;
  readonly title: string;
  readonly sentence: string;
}

const KEEP_OPEN = "Keep this page open and in front.";
const ACTIVITIES: Readonly<Record<Activity, Status>> = {
  // asking for a round takes a moment, every few seconds: to a person that is waiting
  idle: { tone: "calm", title: "Waiting for a round", detail: KEEP_OPEN },
  asking: { tone: "calm", title: "Waiting for a round", detail: KEEP_OPEN },
  fetching: { tone: "busy", title: "Fetching the model", detail: "It is kept on this phone." },
  training: { tone: "busy", title: "Training", detail: KEEP_OPEN },
  answering: { tone: "busy", title: "Sending the answer", detail: "Sealed, with noise, without drawings." },
  paused: { tone: "still", title: "Paused", detail: "Nothing is trained or sent." },
  offline: { tone: "still", title: "Offline", detail: "You can draw; the rest waits for the network." },
};

const PAUSING: Status = { tone: "busy", title: "Pausing", detail: "It stops as soon as what it is doing allows." };

/** What a member's phone does now. */
export function statusOf(view: PhoneView): Status {
  const plain = ACTIVITIES[view.activity];
  if (view.paused && plain.tone === "busy") return PAUSING;
  if (view.paused || view.activity === "paused") return ACTIVITIES.paused;
  if (view.reason !== null) return { tone: "trouble", title: plain.title, detail: view.reason.sentence };
  if (view.examples === 0 && plain.tone === "calm") {
    return {
      ...plain,
      title: "No examples yet",
      detail: "Draw a digit and tap what it is.",
    };
  }
  return plain;
}

/** Whether work is under way that a sleeping phone would stop. */
export function atWork(view: PhoneView): boolean {
  return view.membership === "member" && ACTIVITIES[view.activity].tone === "busy";
}

const TOLERATED_S = 60;

/** What is wrong around the phone: its clock, its storage. */
export function noticesOf(view: PhoneView): readonly Notice[] {
  const found: Notice[] = [];
  const offset = view.clockOffsetSeconds;
  if (offset !== null && Math.abs(offset) > TOLERATED_S) {
    found.push({
      code: "clock",
      title: `This phone’s clock is ${duration(Math.abs(offset))} ${offset > 0 ? "behind" : "ahead"}`,
      sentence: "Set date and time to automatic in the phone’s settings. Until then it may be turned away.",
    });
  }
  if (view.storage === "lost") {
    found.push({
      code: "lost",
      title: "The browser has thrown away this page’s memory",
      sentence:
        "What these examples have spent is no longer known, so they are not trained on again here. " +
        "Leave and erase, and ask for another invitation if you want to begin anew.",
    });
  }
  return found;
}

/** A span of time in the largest unit that fits, such as `2 hours`. */
export function duration(seconds: number): string {
  for (const [unit, size] of [
    ["day", 86_400],
    ["hour", 3_600],
    ["minute", 60],
  ] as const) {
    if (seconds >= size) return counted(Math.round(seconds / size), unit);
  }
  return counted(Math.round(seconds), "second");
}

/** `1 example`, `12 examples`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** A share as whole percent. */
export function percent(share: number): string {
  return `${Math.round(100 * share)} %`;
}

/** An ε that was spent: two digits behind the point, rounded up. */
export function epsilon(value: number): string {
  return plain(Math.ceil(value * 100 - 1e-9) / 100);
}

/** An ε that is left, rounded down. */
export function left(value: number): string {
  return plain(Math.floor(value * 100 + 1e-9) / 100);
}

function plain(value: number): string {
  return String(Number(value.toFixed(2)));
}

/** δ as one in so many. */
export function oneIn(delta: number): string {
  return `1 in ${Math.round(1 / delta).toLocaleString("en")}`;
}

/** What was spent, in a sentence that promises no more than (ε, δ) does. */
export function spentInWords(privacy: PhoneView["privacy"]): string {
  if (privacy.spent === 0) return "Nothing was spent: no answer has left this phone.";
  const factor = Math.exp(privacy.spent);
  const times = factor < 10 ? plain(Math.ceil(10 * factor) / 10) : Math.ceil(factor).toLocaleString("en");
  return (
    `Whoever sees all answers of this phone can change the odds on whether one certain drawing was among ` +
    `its examples by a factor of ${times} at most (that is e^ε), but for a slack of ${oneIn(privacy.delta)} (δ).`
  );
}

/** Which released model is here, and why a newer one is not. */
export function modelInWords({ version, at, refused }: NonNullable<PhoneView["model"]>): string {
  const here = version === 0 ? "" : `Model version ${version} installed ${moment(at)}.`;
  const not = refused === null ? "" : `A release was turned away (${refused.code}): ${refused.sentence}.`;
  return [here, not].filter((one) => one !== "").join(" ");
}

/** What became of a round for this phone. */
export function roundInWords(seen: RoundSeen): string {
  if (seen.refused !== null) return `This phone did not take part: ${seen.refused.sentence}`;
  return `${counted(seen.examples, "example")} took part`;
}

/** Day and time as this phone writes them; an invitation's may be beyond all that a calendar knows. */
export function moment(at: number, locale?: string): string {
  if (Number.isNaN(new Date(at).getTime())) return "never";
  return new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" }).format(at);
}

/** Bytes in a unit that a person reads. */
export function bytes(count: number): string {
  return count < 1e6 ? `${Math.max(1, Math.round(count / 1e3))} KB` : `${(count / 1e6).toFixed(1)} MB`;
}

/** Why something that a person asked for was not done. */
export function whyNot(error: unknown): Reason {
  if (error instanceof SkerryError) {
    const parts = [error.what, error.mend].filter((part) => part !== undefined);
    const code = error instanceof RefusedError ? error.reason : error.name;
    return { code, sentence: parts.map((part) => `${capital(part).replace(/\.$/, "")}.`).join(" ") };
  }
  return { code: "unexpected", sentence: error instanceof Error ? error.message : String(error) };
}

/** What is wrong with a name for a device, by the core's own rule; `null` for nothing. */
export function nameFault(name: string): string | null {
  if (name === "") return "Give this phone a name.";
  try {
    checkMemberName(name);
    return null;
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return whyNot(error).sentence;
  }
}

function capital(sentence: string): string {
  return sentence.charAt(0).toUpperCase() + sentence.slice(1);
}

/** A phone in memory, for the looks of the page alone: it joins nothing, trains nothing, and is never built into it. */

import type { Guess, InviteLink, Phone, PhoneView, Picture, StoredExample, Terms } from "../../src/agent/phone.ts";
import { RefusedError } from "../../src/errors.ts";
import { checkPicture } from "../../src/preparation/digits.ts";

export const EMPTY: PhoneView = {
  membership: "none",
  name: "",
  fingerprint: "",
  federation: "",
  classes: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
  activity: "idle",
  paused: false,
  progress: null,
  reason: null,
  rounds: [],
  privacy: { unit: "example", relation: "add/remove", epsilon: 8, spent: 0, left: 8, delta: 1e-5 },
  examples: 0,
  storage: "persisted",
  clockOffsetSeconds: null,
  base: null,
  model: null,
};

export class MemoryPhone implements Phone {
  view: PhoneView;
  /** What `enrol` does: join, wait, refuse, or never answer. */
  desk: "member" | "waiting" | "refuse" | "silent" = "member";
  round = 0;
  /** How long the model looks at a picture, and whether it can. */
  looks: () => Promise<void> = () => Promise.resolve();
  #examples: StoredExample[] = [];
  readonly #listeners = new Set<(view: PhoneView) => void>();

  constructor(view: Partial<PhoneView> = {}) {
    this.view = { ...EMPTY, ...view };
  }

  set(change: Partial<PhoneView>): void {
    this.view = { ...this.view, ...change };
    for (const listener of this.#listeners) listener(this.view);
  }

  subscribe(listener: (view: PhoneView) => void): () => void {
    this.#listeners.add(listener);
    listener(this.view);
    return () => this.#listeners.delete(listener);
  }

  async enrol(link: InviteLink, name: string, terms: Terms): Promise<void> {
    if (this.desk === "silent") return new Promise(() => undefined);
    await Promise.resolve();
    if (this.desk === "refuse")
      throw new RefusedError("invite_used", "the invitation was used already", "ask for another one");
    this.set({ membership: this.desk, name, federation: link.federation, privacy: { ...this.view.privacy, ...terms } });
  }

  async addExample(picture: Picture, label: number): Promise<void> {
    await Promise.resolve();
    checkPicture(picture); // as the core does
    const id = 1 + Math.max(0, ...this.#examples.map((one) => one.id));
    this.#examples.push({ id, picture, label, added: Date.UTC(2026, 4, 3, 9, id) });
    this.set({ examples: this.#examples.length });
  }

  async removeExample(id: number): Promise<void> {
    await Promise.resolve();
    this.#examples = this.#examples.filter((one) => one.id !== id);
    this.set({ examples: this.#examples.length });
  }

  examples(): Promise<readonly StoredExample[]> {
    return Promise.resolve([...this.#examples]);
  }

  /** No model: the share of ink in ten strips, which changes with the drawing and the round. */
  async guess(picture: Picture): Promise<Guess | null> {
    await this.looks();
    if (this.view.base === null) return null;
    checkPicture(picture);
    const strips = Array.from({ length: 10 }, () => 0.01);
    picture.gray.forEach((ink, at) => {
      const strip = (Math.floor((10 * (at % picture.width)) / picture.width) + this.round) % 10;
      strips[strip] = (strips[strip] ?? 0) + (ink / 255) ** 2;
    });
    const sharp = strips.map((value) => value ** 2);
    const sum = sharp.reduce((total, value) => total + value, 0);
    const probabilities = sharp.map((value) => value / sum);
    return { probabilities, best: probabilities.indexOf(Math.max(...probabilities)), round: this.round };
  }

  pause(): Promise<void> {
    this.set({ activity: "paused", paused: true });
    return Promise.resolve();
  }

  resume(): Promise<void> {
    this.set({ activity: "idle", paused: false });
    return Promise.resolve();
  }

  leave(erase: boolean): Promise<void> {
    this.#examples = [];
    const { storage } = this.view; // a ledger that is not whole goes with `erase` alone
    this.set({ membership: erase ? "none" : "ended", examples: 0, storage: erase ? "persisted" : storage });
    return Promise.resolve();
  }
}

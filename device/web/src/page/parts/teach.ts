/** Where examples are made: the pad, what the model makes of it, and ten buttons that say what it is. */

import type { Guess, Phone, PhoneView, Picture } from "../../agent/phone.ts";
import { button, fill, h, icon, setAttribute, setText, show } from "../dom.ts";
import { percent, whyNot } from "../words.ts";
import { Camera } from "./camera.ts";
import { Pad } from "./pad.ts";

const LATE_MS = 400; // until then what the model said last stands: it blinks at no stroke

/** What a part of the page may ask of the whole. */
export interface Host {
  /** Do it, and say so where it fails. */
  readonly attempt: (work: Promise<unknown>) => Promise<boolean>;
  /** Say something, seen and heard; perhaps with a way back. */
  readonly say: (sentence: string, back?: { readonly word: string; readonly action: () => void }) => void;
  /** Say something to a screen reader only. */
  readonly whisper: (sentence: string) => void;
}

/** One for the page. */
export class Teach {
  readonly element: HTMLElement;
  readonly #phone: Phone;
  readonly #host: Host;
  readonly #pad: Pad;
  readonly #camera: Camera;
  readonly #drawing: HTMLElement;
  readonly #naming: HTMLElement;
  readonly #guess = h("p", { class: "guess", role: "status" });
  readonly #before = h("p", { class: "guess-before" });
  readonly #labels: readonly HTMLButtonElement[];
  readonly #modes: readonly [HTMLButtonElement, HTMLButtonElement];
  #classes: readonly string[] = [];
  #hasBase = false;
  #picture: Picture | null = null; // that the model was last asked about
  #looks = false;
  #earlier: Guess | null = null; // of the same picture, by the head of another round
  #latest: Guess | null = null;
  #fault: string | null = null; // why the model says nothing of the picture
  #asked = 0;
  #newest = 0;

  constructor(phone: Phone, host: Host) {
    this.#phone = phone;
    this.#host = host;
    const label = (at: number): void => void this.#keep(at);
    this.#pad = new Pad({ changed: () => { this.#changed(); }, labelled: label, said: host.whisper }); // prettier-ignore
    this.#camera = new Camera({
      taken: (ink) => {
        this.#pad.put(ink);
        this.#show("pad");
        host.whisper("The picture is on the pad. Say what it is.");
      },
      said: host.whisper,
    });
    this.#labels = Array.from({ length: 10 }, (_, at) =>
      button({ class: "label", "data-label": at }, () => { label(at); }, h("span", {}, String(at)), h("i", { "aria-hidden": "true" })),
    ); // prettier-ignore
    this.#modes = [
      button({ "aria-pressed": "true" }, () => { this.#show("pad"); }, icon("pen"), "Draw"),
      button({ "aria-pressed": "false" }, () => { this.#show("camera"); }, icon("camera"), "Photograph"),
    ]; // prettier-ignore
    this.#drawing = h(
      "div",
      { class: "drawing" },
      button(
        { class: "quiet square", "aria-label": "Take the last stroke back" },
        () => {
          this.#pad.undo();
        },
        icon("undo"),
      ),
      this.#pad.element,
      button(
        { class: "quiet square", "aria-label": "Clear the pad" },
        () => {
          this.#pad.clear();
        },
        icon("close"),
      ),
    );
    this.#naming = h(
      "div",
      { class: "naming" },
      h("div", { class: "guesses" }, this.#guess, this.#before),
      h("p", { id: "label-help", class: "caption" }, "What is it? Tap to keep it as an example."),
      h("div", { class: "labels", role: "group", "aria-labelledby": "label-help" }, ...this.#labels),
    );
    this.element = this.#built();
    show(this.#camera.element, false);
    this.#tell();
  }

  update(view: PhoneView): void {
    this.#classes = view.classes;
    view.classes.forEach((name, at) => {
      const key = this.#labels[at];
      const word = key?.querySelector("span");
      if (key === undefined || !word) return;
      setText(word, name);
      setAttribute(key, "aria-label", `Keep as ${name}`);
    });
    const newest = Math.max(view.rounds[0]?.at ?? 0, view.model?.at ?? 0);
    const other = newest !== this.#newest || this.#hasBase !== (view.base !== null);
    this.#newest = newest;
    this.#hasBase = view.base !== null;
    if (other) void this.#ask(); // a round has brought another head, or the first one is here
  }

  /** The camera is on only while this part is seen. */
  hidden(): void {
    this.#show("pad");
  }

  #built(): HTMLElement {
    return h(
      "section",
      { class: "teach", "aria-labelledby": "teach-title" },
      h("h2", { id: "teach-title", class: "unseen" }, "Teach"),
      h("div", { class: "segmented", role: "group", "aria-label": "How to make an example" }, ...this.#modes),
      this.#drawing,
      this.#camera.element,
      this.#naming,
    );
  }

  #show(mode: "pad" | "camera"): void {
    const camera = mode === "camera";
    setAttribute(this.#modes[0], "aria-pressed", String(!camera));
    setAttribute(this.#modes[1], "aria-pressed", String(camera));
    if (this.#camera.element.hidden !== camera) return; // as it is
    show(this.#drawing, !camera);
    show(this.#naming, !camera); // a picture is on the pad before it gets its name
    show(this.#camera.element, camera);
    if (camera) void this.#camera.open();
    else this.#camera.close();
  }

  async #keep(label: number): Promise<void> {
    const picture = this.#pad.picture;
    const name = this.#classes[label] ?? String(label);
    if (picture === null) {
      this.#host.say("Draw something first, then say what it is.");
      return;
    }
    if (!(await this.#host.attempt(this.#phone.addExample(picture, label)))) return;
    this.#pad.clear();
    this.#host.say(`Kept as ${name}.`, { word: "Undo", action: () => void this.#takeBack(picture) });
  }

  /** The newest example goes, and its picture comes back. */
  async #takeBack(picture: Picture): Promise<void> {
    const newest = (await this.#phone.examples()).at(-1);
    if (newest === undefined) return;
    if (await this.#host.attempt(this.#phone.removeExample(newest.id))) this.#pad.put(picture);
  }

  #changed(): void {
    this.#earlier = this.#latest = this.#fault = null; // another picture
    void this.#ask();
  }

  /**
   * Ask the model about what is on the pad now. It looks at one picture at a time, and then at the newest one: however
   * slow the phone is, no queue grows behind a pen. What it says of a picture that is not there any more is dropped.
   */
  async #ask(): Promise<void> {
    this.#picture = this.#pad.picture;
    this.#asked += 1;
    if (this.#picture === null) this.#hear(null, null);
    if (this.#looks) return;
    this.#looks = true;
    for (let turn = 0; turn !== this.#asked;) {
      turn = this.#asked;
      if (this.#picture !== null) await this.#look(this.#picture, turn);
    }
    this.#looks = false;
  }

  async #look(picture: Picture, turn: number): Promise<void> {
    const late = setTimeout(() => { this.#tell(); }, LATE_MS); // prettier-ignore
    let [said, fault]: [Guess | null, string | null] = [null, null];
    try {
      said = await this.#phone.guess(picture);
    } catch (error) {
      fault = whyNot(error).sentence;
    }
    clearTimeout(late);
    if (turn === this.#asked) this.#hear(said, fault);
  }

  #hear(said: Guess | null, fault: string | null): void {
    const was = this.#latest;
    if (was !== null && said !== null && (said.round !== was.round || said.version !== was.version))
      this.#earlier = was;
    [this.#latest, this.#fault] = [said, fault];
    this.#tell();
  }

  #tell(): void {
    const now = this.#latest;
    setText(this.#guess, this.#sentence());
    const was = this.#earlier;
    const since = now?.version === undefined ? `round ${now?.round ?? ""}` : `model version ${now.version}`;
    setText(this.#before, was === null ? "" : `Before ${since}: ${this.#named(was)}`);
    this.#labels.forEach((key, at) => {
      const bar = key.querySelector("i");
      if (bar !== null) fill(bar, now?.probabilities[at] ?? 0);
      key.classList.toggle("likely", now?.best === at);
    });
  }

  #sentence(): string {
    if (this.#latest !== null) return `The model says ${this.#named(this.#latest)}`;
    if (this.#fault !== null) return `The model says nothing. ${this.#fault}`;
    if (!this.#hasBase) return "The model comes with a round.";
    return this.#picture === null ? "The model guesses as you draw." : "The model looks…";
  }

  #named(guess: Guess): string {
    return `${this.#classes[guess.best] ?? guess.best}, ${percent(guess.probabilities[guess.best] ?? 0)}`;
  }
}

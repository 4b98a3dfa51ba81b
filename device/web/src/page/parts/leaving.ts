/**
 * Leaving: asked once more, with what becomes of the record of what was spent. A record that is not whole any more goes
 * in any case: as long as it is there, the phone takes part in nothing.
 */

import type { Phone } from "../../agent/phone.ts";
import { button, h, icon, show } from "../dom.ts";
import type { Host } from "./teach.ts";

/** One for the page. */
export class Leaving {
  readonly element: HTMLDialogElement;
  readonly #record = h("input", { type: "checkbox", id: "leave-record" });
  readonly #choice: HTMLElement;
  readonly #broken = h(
    "p",
    {},
    "What is left of the privacy record goes too. Do not use the same examples again: nobody knows what they have spent.",
  );
  readonly #phone: Phone;

  constructor(phone: Phone, host: Host) {
    this.#phone = phone;
    const leave = async (): Promise<void> => {
      const erase = this.#record.checked;
      this.element.close();
      if (await host.attempt(phone.leave(erase)))
        host.say(erase ? "Left; everything is erased." : "Left. The record of what was spent stays.");
    };
    this.#choice = h(
      "label",
      { class: "check", for: "leave-record" },
      this.#record,
      h(
        "span",
        {},
        h("strong", {}, "Erase the privacy record too"),
        h("small", {}, "It is the proof of what these examples have spent. Without it, the same examples would begin with a full budget again."),
      ),
    ); // prettier-ignore
    this.element = h(
      "dialog",
      { class: "dialog", "aria-labelledby": "leave-title" },
      h("h2", { id: "leave-title" }, "Leave and erase?"),
      h("p", {}, "This phone’s keys, examples, answers and models are deleted. To come back, you need another invitation."),
      this.#choice,
      this.#broken,
      h(
        "div",
        { class: "stack" },
        button({ class: "danger wide", "data-action": "leave-now" }, () => void leave(), icon("trash"), "Leave and erase"),
        button({ class: "wide", autofocus: true }, () => { this.element.close(); }, "Stay"),
      ),
    ); // prettier-ignore
  }

  open(): void {
    const broken = this.#phone.view.storage === "lost";
    this.#record.checked = broken;
    show(this.#choice, !broken);
    show(this.#broken, broken);
    this.element.showModal();
  }
}

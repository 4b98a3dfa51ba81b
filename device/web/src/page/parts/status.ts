/** The line at the top: what the phone does now, and the button that stops it. */

import type { Phone, PhoneView } from "../../agent/phone.ts";
import { button, fill, h, icon, setAttribute, setText } from "../dom.ts";
import { statusOf } from "../words.ts";
import { Notices } from "./notices.ts";
import type { Host } from "./teach.ts";

/** One for the page. */
export class StatusLine {
  readonly element: HTMLElement;
  readonly #title = h("p", { class: "status-title", role: "status" });
  readonly #detail = h("p", { class: "status-detail" });
  readonly #bar = h("i", { class: "meter status-bar", "aria-hidden": "true" });
  readonly #notices = new Notices();
  readonly #pause: HTMLButtonElement;
  readonly #line: HTMLElement;
  #paused = false;

  constructor(phone: Phone, host: Host) {
    this.#pause = button({ class: "pause", "data-action": "pause" }, () => {
      void host.attempt(this.#paused ? phone.resume() : phone.pause());
    }, icon("pause"), h("span", {}, "Pause")); // prettier-ignore
    this.#line = h(
      "div",
      { class: "status" },
      h("div", { class: "status-words" }, this.#title, this.#detail),
      this.#pause,
      this.#bar,
    );
    this.element = h("div", {}, this.#line, this.#notices.element);
  }

  update(view: PhoneView): void {
    const { tone, title, detail } = statusOf(view);
    setAttribute(this.#line, "data-tone", tone);
    setText(this.#title, title);
    setText(this.#detail, detail);
    this.#bar.classList.toggle("on", tone === "busy");
    this.#bar.classList.toggle("unknown", tone === "busy" && view.progress === null);
    fill(this.#bar, view.progress ?? 0);
    this.#paused = view.paused;
    const word = this.#pause.querySelector("span");
    if (word !== null) setText(word, this.#paused ? "Resume" : "Pause");
    this.#pause.querySelector("svg")?.replaceWith(icon(this.#paused ? "play" : "pause"));
    this.#notices.update(view);
  }
}

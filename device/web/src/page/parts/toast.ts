/** A sentence at the head of the page that goes by itself, perhaps with a way back; a screen reader speaks it. */

import { button, h, setText } from "../dom.ts";

const SHOWN_MS = 6000;

/** One for the page. */
export class Toast {
  readonly element: HTMLElement;
  readonly #text = h("p", { role: "status" });
  readonly #back = button({ class: "toast-back", hidden: true }, () => {
    const action = this.#action;
    this.#hide();
    action?.();
  });
  #action: (() => void) | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    this.element = h("div", { class: "toast" }, this.#text, this.#back);
    // who reaches for the way back is not hurried
    this.element.addEventListener("focusin", () => { clearTimeout(this.#timer); }); // prettier-ignore
    this.element.addEventListener("focusout", () => { this.#later(); }); // prettier-ignore
  }

  say(sentence: string, back?: { readonly word: string; readonly action: () => void }): void {
    setText(this.#text, sentence);
    this.#action = back?.action ?? null;
    this.#back.hidden = back === undefined;
    setText(this.#back, back?.word ?? "");
    this.element.classList.add("on");
    this.#later();
  }

  #later(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => { this.#hide(); }, SHOWN_MS); // prettier-ignore
  }

  #hide(): void {
    clearTimeout(this.#timer);
    this.element.classList.remove("on");
    this.#back.hidden = true;
    this.#action = null;
    setText(this.#text, "");
  }
}

/** The owner's examples as thumbnails, each of which can be deleted; they never leave the phone. */

import type { Phone, PhoneView, StoredExample } from "../../agent/phone.ts";
import { button, h, icon, setText, show } from "../dom.ts";
import { counted, moment } from "../words.ts";
import { inked } from "./pad.ts";
import type { Host } from "./teach.ts";

/** One for the page. */
export class Examples {
  readonly element: HTMLElement;
  readonly #phone: Phone;
  readonly #host: Host;
  readonly #list = h("ul", { class: "thumbnails" });
  readonly #title = h("h2", { id: "examples-title", tabindex: -1 }, "Examples");
  readonly #none = h("p", { class: "empty" }, "There are none yet. Draw a digit under Teach, and tap what it is.");
  readonly #shown = new Map<number, HTMLElement>();
  #classes: readonly string[] = [];
  #count = -1;

  constructor(phone: Phone, host: Host) {
    this.#phone = phone;
    this.#host = host;
    this.element = h(
      "section",
      { "aria-labelledby": "examples-title" },
      this.#title,
      h(
        "p",
        { class: "lead" },
        "They stay on this phone. What is learnt from them leaves only with noise, and sealed.",
      ),
      this.#none,
      this.#list,
    );
  }

  update(view: PhoneView): void {
    this.#classes = view.classes;
    if (view.examples === this.#count) return;
    this.#count = view.examples;
    setText(this.#title, counted(view.examples, "example"));
    show(this.#none, view.examples === 0);
    void this.#fill();
  }

  async #fill(): Promise<void> {
    const all = await this.#phone.examples().catch((): readonly StoredExample[] => []);
    const kept = new Set(all.map(({ id }) => id));
    for (const [id, tile] of this.#shown) {
      if (kept.has(id)) continue;
      tile.remove();
      this.#shown.delete(id);
    }
    for (const example of all) {
      if (this.#shown.has(example.id)) continue;
      const tile = this.#tile(example);
      this.#shown.set(example.id, tile);
      this.#list.prepend(tile); // the newest first
    }
  }

  #tile(example: StoredExample): HTMLElement {
    const name = this.#classes[example.label] ?? String(example.label);
    const picture = inked(example.picture, "#000");
    picture.className = "thumbnail-ink";
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", `A drawing of ${name}`);
    const remove = button(
      { class: "quiet thumbnail-delete", "aria-label": `Delete this ${name}, added ${moment(example.added)}` },
      () => void this.#remove(example.id, name),
      icon("trash"),
    );
    return h(
      "li",
      { class: "thumbnail" },
      picture,
      h("span", { class: "thumbnail-label", "aria-hidden": "true" }, name),
      remove,
    );
  }

  async #remove(id: number, name: string): Promise<void> {
    const tile = this.#shown.get(id);
    const next = (tile?.nextElementSibling ?? tile?.previousElementSibling)?.querySelector("button") ?? this.#title;
    if (!(await this.#host.attempt(this.#phone.removeExample(id)))) return;
    next.focus(); // the button that had it is gone
    this.#host.say(`Deleted one ${name}. What was sent before is not called back.`);
  }
}

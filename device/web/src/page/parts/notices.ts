/** What is wrong around the phone, wherever its owner is in the page. */

import type { PhoneView } from "../../agent/phone.ts";
import { h, show } from "../dom.ts";
import { noticesOf } from "../words.ts";

/** One for each place that tells them. */
export class Notices {
  readonly element = h("div", { class: "notices", role: "status" });
  #shown = "";

  update(view: PhoneView): void {
    const notices = noticesOf(view);
    const now = notices.map(({ code, title }) => code + title).join();
    if (now === this.#shown) return;
    this.#shown = now;
    show(this.element, notices.length > 0);
    this.element.replaceChildren(
      ...notices.map(({ title, sentence }) =>
        h("div", { class: "notice" }, h("strong", {}, title), h("p", {}, sentence)),
      ),
    );
  }
}

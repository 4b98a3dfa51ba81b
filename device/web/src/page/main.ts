/** The page's beginning: the phone that this browser is, and the invitation that the page may have been opened with. */

import { openPhone } from "../agent/index.ts";
import { readInvite } from "../agent/link.ts";
import { mount } from "./app.ts";
import { h } from "./dom.ts";
import { keepOffline } from "./offline.ts";
import { whyNot } from "./words.ts";

const KEPT = "skerry-invite";

/**
 * The invitation behind the address's `#`. It is taken out of the address, which people share and browsers remember, and kept
 * for this tab until the phone has applied, so that a reload does not lose it.
 */
function invitation(): string | null {
  if (location.hash.length > 1) {
    sessionStorage.setItem(KEPT, decodeURIComponent(location.hash.slice(1)));
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(KEPT);
}

/** Such as `phone-k3v9`: nothing in it says whose it is. */
function suggestion(): string {
  const letters = "abcdefghjkmnpqrstuvwxyz23456789";
  const drawn = crypto.getRandomValues(new Uint8Array(4));
  return `phone-${Array.from(drawn, (byte) => letters[byte % letters.length] ?? "").join("")}`;
}

async function main(): Promise<void> {
  const root = document.getElementById("app");
  if (root === null) throw new Error("the page has no app");
  addEventListener("hashchange", () => {
    location.reload();
  }); // another link, opened in the same tab // prettier-ignore
  const invite = invitation();
  try {
    const phone = openPhone();
    await phone.examples(); // from now on its view is what it is, not what it is before it was looked at
    phone.subscribe(({ membership }) => {
      if (membership === "waiting" || membership === "member") sessionStorage.removeItem(KEPT);
    });
    mount(root, phone, { readInvite, invite, suggested: suggestion() });
    performance.mark("skerry-shown");
  } catch (error) {
    root.replaceChildren(
      h(
        "main",
        { class: "opening" },
        h("h1", {}, "skerry"),
        h("p", { role: "alert" }, `The page cannot start: ${whyNot(error).sentence}`),
      ),
    );
  }
  await keepOffline();
}

await main();

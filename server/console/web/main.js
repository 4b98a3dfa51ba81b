// The console: signs in, takes in what the gateway sends, and shows it.

import { byId, say } from "./dom.js";
import { start as startDevices } from "./devices.js";
import { start as startRuns } from "./runs.js";
import { start as startSides } from "./sides.js";
import { start as startVerdicts } from "./verdicts.js";
import { begin, end, goToProvider, provider, signedIn } from "./session.js";
import { apply, one, watch } from "./store.js";

const THEME = "skerry-theme";

async function main() {
  themes();
  byId("sign-in-oidc-go").addEventListener("click", () => {
    void goToProvider().then((why) => why && say(byId("sign-in-why"), `The provider cannot be gone to: ${why}.`));
  });
  const why = await begin((told) => say(byId("line"), told));
  if (why !== null) return away(why);
  const who = signedIn();
  say(byId("who"), `${who?.who}, ${who?.role}`);
  byId("sign-out").hidden = false;
  byId("sign-out").addEventListener("click", () => void end().then(() => location.reload()));
  byId("board").hidden = false;
  watch(["server"], () => say(byId("federation"), one("server")?.federation ?? ""));
  for (const start of [startSides, startRuns, startDevices, startVerdicts]) start();
  listen();
}

/** Events as they come; a browser connects again by itself, and names the last one that it had. */
function listen() {
  const line = byId("line");
  const events = new EventSource("/v1/console/events");
  const live = () => {
    say(line, "live");
    line.dataset["state"] = "live";
  };
  for (const kind of ["all", "change"])
    events.addEventListener(kind, (event) => {
      apply(JSON.parse(/** @type {MessageEvent} */ (event).data), kind === "all");
      live();
    });
  events.addEventListener("open", live);
  events.addEventListener("over", () => {
    events.close();
    away("The session has ended.");
  });
  events.addEventListener("error", () => {
    say(line, "no connection; trying again");
    line.dataset["state"] = "lost";
    if (events.readyState === EventSource.CLOSED)
      void begin((told) => say(line, told)).then((why) => (why === null ? setTimeout(listen, 2000) : away(why)));
  });
}

/** @param {string} why */
function away(why) {
  byId("board").hidden = true;
  byId("sign-in").hidden = false;
  byId("sign-out").hidden = true;
  say(byId("sign-in-why"), why);
  void provider().then((name) => {
    byId("sign-in-oidc").hidden = name === null;
    say(byId("sign-in-oidc-go"), name === null ? "" : `Sign in at ${name}`);
  });
  say(byId("line"), "");
  say(byId("who"), "");
}

function themes() {
  const button = byId("theme");
  const dark = () => {
    const chosen = document.documentElement.dataset["theme"];
    return chosen === undefined ? matchMedia("(prefers-color-scheme: dark)").matches : chosen === "dark";
  };
  const kept = localStorage.getItem(THEME);
  if (kept !== null) document.documentElement.dataset["theme"] = kept;
  const label = () => say(button, dark() ? "Light" : "Dark");
  button.addEventListener("click", () => {
    document.documentElement.dataset["theme"] = dark() ? "light" : "dark";
    localStorage.setItem(THEME, document.documentElement.dataset["theme"]);
    label();
  });
  label();
}

void main();

// Alerts, releases and the log's tail.

import { byId, el, fill, keyed, say, set } from "./dom.js";
import { all, watch } from "./store.js";
import { amount, moment, short } from "./words.js";

const LEVELS = ["alarm", "warning", "notice"];

export function start() {
  watch(["alert"], () => {
    const some = all("alert").sort((a, b) => LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level));
    keyed(byId("alerts"), some, {
      key: (alert) => alert.key,
      build: () => el("li", {}, el("strong"), " ", el("span"), " ", el("span", { class: "muted" })),
      update: (item, alert) => {
        set(item, "data-level", alert.level);
        say(/** @type {Element} */ (item.children[0]), alert.level);
        say(/** @type {Element} */ (item.children[1]), alert.what);
        say(/** @type {Element} */ (item.children[2]), alert.run ?? "");
      },
    });
    if (some.length === 0) fill(byId("alerts"), el("li", { class: "note" }, "Nothing needs looking at."));
  });
  watch(["release", "receipts", "device"], () => {
    const releases = all("release").sort((a, b) => b.at - a.at);
    const receipts = all("receipts").map(
      (one) => `${amount(one.devices, "device")} handed in a receipt of kind ${one.kind}`,
    );
    fill(
      byId("releases"),
      releases.length === 0
        ? el("p", { class: "note" }, "Nothing was released yet.")
        : el(
            "ol",
            { class: "releases" },
            ...releases
              .slice(0, 12)
              .map((one) =>
                el(
                  "li",
                  {},
                  el("strong", {}, `${one.name} ${one.version}`),
                  ` ${moment(one.at)} UTC `,
                  el("code", {}, short(one.manifest)),
                  rollOut(one),
                ),
              ),
          ),
      receipts.length > 0 && el("p", { class: "note" }, `${receipts.join("; ")}.`),
    );
  });
  watch(["log"], () =>
    keyed(
      byId("log"),
      all("log").sort((a, b) => b.seq - a.seq),
      {
        key: (entry) => `${entry.key}${entry.body === null ? "-" : ""}`,
        build: (entry) =>
          el(
            "li",
            {},
            el("span", { class: "muted" }, `${entry.seq} · ${moment(entry.at)} `),
            el("strong", {}, entry.kind),
            " ",
            el("span", {}, said(entry.body)),
          ),
        update: () => undefined,
      },
    ),
  );
}

/** How far it is on its way, where it is in the repository. @param {any} release */
function rollOut(release) {
  if (release.fetched === null) return null;
  const enrolled = all("device").filter((device) => device.enrolment === "enrolled" && device.role === "device").length;
  return el("span", { class: "note" }, ` fetched by ${release.fetched}, of ${amount(enrolled, "enrolled device")}`);
}

/** @param {Record<string, any> | null} body */
const said = (body) =>
  body === null
    ? "(erased)"
    : Object.entries(body)
        .map(([name, value]) => `${name} ${short(String(value), 24)}`)
        .join(", ");

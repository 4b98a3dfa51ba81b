// Who is signed in, and requests in their name.

/** @type {{ who: string, role: string, csrf: string } | null} */
let session = null;

export const signedIn = () => session;

/** Whether the person may decide something. */
export const mayAct = () => session?.role === "operator";

/**
 * By the link in the address, which is taken out of it at once, else by the cookie that is there.
 *
 * @returns {Promise<string | null>} why nobody is signed in
 */
export async function begin() {
  const token = location.hash.match(/^#sign-in:([A-Za-z0-9_-]+)$/)?.[1];
  if (token !== undefined) {
    history.replaceState(null, "", location.pathname);
    const answer = await post("sign-in", { token });
    if (!answer.ok) return `The link does not work: ${answer.what}.`;
    session = answer.told;
    return null;
  }
  try {
    const answer = await fetch("/v1/console/session", { cache: "no-store" });
    session = answer.ok ? await answer.json() : null;
    return session === null ? "Nobody is signed in here." : null;
  } catch {
    return "The gateway does not answer; load the page again.";
  }
}

export async function end() {
  await post("sign-out", {});
  session = null;
}

/** @param {string} path @param {object} body @returns {Promise<{ ok: boolean, told: any, what: string }>} */
export async function post(path, body) {
  const headers = { "content-type": "application/json", "x-skerry-csrf": session?.csrf ?? "" };
  try {
    const answer = await fetch(`/v1/console/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
    const told = await answer.json();
    return { ok: answer.ok, told, what: answer.ok ? "" : told.error.what };
  } catch {
    return { ok: false, told: null, what: "the gateway does not answer" };
  }
}

// Who is signed in, and requests in their name.

/** @type {{ who: string, role: string, csrf: string } | null} */
let session = null;

export const signedIn = () => session;

/** Whether the person may decide something. */
export const mayAct = () => session?.role === "operator";

const AGAIN_MS = 3000;
const BEGUN = "skerry-sign-in-begun";

/** @returns {Promise<string | null>} the OpenID provider that lets people in, if one does */
export async function provider() {
  try {
    const answer = await fetch("/v1/console/ways", { cache: "no-store" });
    return answer.ok ? (await answer.json()).oidc : null;
  } catch {
    return null;
  }
}

/** Go to the provider, which sends the browser back. @returns {Promise<string>} why that is not possible */
export async function goToProvider() {
  const answer = await post("oidc/begin", {});
  if (answer.ok) {
    sessionStorage.setItem(BEGUN, "yes");
    location.assign(answer.told.url);
  }
  return answer.what;
}

/**
 * By the link or a provider's answer in the address, which is taken out of it at once, else by the cookie that is there.
 * A gateway that cannot say it now is asked again: only a 401 says that nobody is signed in.
 *
 * @param {(why: string) => void} waiting is told what is waited for
 * @returns {Promise<string | null>} why nobody is signed in
 */
export async function begin(waiting) {
  const token = location.hash.match(/^#sign-in:([A-Za-z0-9_-]+)$/)?.[1];
  if (token !== undefined) {
    history.replaceState(null, "", location.pathname);
    const answer = await post("sign-in", { token });
    if (!answer.ok) return `The link does not work: ${answer.what}.`;
    session = answer.told;
    return null;
  }
  const answered = new URLSearchParams(location.hash.slice(1));
  if (answered.has("state")) {
    history.replaceState(null, "", location.pathname);
  }
  // What anybody may put into a link is handed in only where this tab began to sign in.
  const began = sessionStorage.getItem(BEGUN) !== null;
  sessionStorage.removeItem(BEGUN);
  if (began && answered.has("state")) {
    const answer = await post("oidc/finish", Object.fromEntries(answered));
    if (!answer.ok) return `Nobody was let in: ${answer.what}.`;
    session = answer.told;
    return null;
  }
  for (;;) {
    try {
      const answer = await fetch("/v1/console/session", { cache: "no-store" });
      if (answer.status === 401) {
        session = null;
        return "Nobody is signed in here.";
      }
      if (answer.ok) {
        session = await answer.json();
        return null;
      }
      waiting("the gateway cannot say who is signed in; asking again");
    } catch {
      waiting("the gateway does not answer; asking again");
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
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

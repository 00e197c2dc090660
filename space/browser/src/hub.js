/** Styles on the Hugging Face Hub; only when the visitor asks for one, or signs in, is anything requested from there. */

import { MetaStyleError } from "./errors.js";

/** @typedef {{accessToken: string, name: string}} Account */

const HUB = "https://huggingface.co";
const REPO = /^([A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95})(?:@([\w./-]+))?$/;
const CHANNEL = "metastyle-sign-in";
const TAGS = ["metastyle", "style-transfer", "metastyle-style"];

/** @returns {Promise<typeof import("@huggingface/hub")>} the Hub's client, loaded when it is needed */
const client = () => import(new URL("../vendor/hub/index.mjs", import.meta.url).href);

/**
 * Return files of a repo, all of one commit.
 * @param {string} repo user/name or user/name@revision @param {string[]} names @param {number} maxBytes
 */
export async function hubStyle(repo, names, maxBytes) {
  const [, id, revision = "main"] = REPO.exec(repo.trim()) ?? [];
  if (!id) throw new MetaStyleError(`“${repo}” is not a Hub repo user/name; check the spelling.`);
  const { sha } = await (await ask(`${HUB}/api/models/${id}/revision/${encodeURIComponent(revision)}`, id)).json();
  return Promise.all(names.map(async (name) => {
    const response = await ask(`${HUB}/${id}/resolve/${sha}/${name}`, id);
    if (Number(response.headers.get("content-length")) > maxBytes) {
      throw new MetaStyleError(`${name} in ${id} is larger than a style can be; check the repo.`);
    }
    return new Uint8Array(await response.arrayBuffer());
  }));
}

/** @param {string} address @param {string} repo */
async function ask(address, repo) {
  const response = await fetch(address).catch(() => null);
  if (!response) throw new MetaStyleError(`${HUB} is unreachable for ${repo}; check the connection and try again.`);
  if (response.status === 401 || response.status === 404) {
    throw new MetaStyleError(`There is no repo ${repo} on ${HUB} with a style, or it is private; check the name.`);
  }
  if (!response.ok) throw new MetaStyleError(`The Hub answered with status ${response.status} for ${repo}; try again later.`);
  return response;
}

/** Return whether visitors can sign in here: on a static Space with `hf_oauth`, in a tab of its own. */
export function canSignIn() {
  return window.top === window && Boolean(Reflect.get(window, "huggingface")?.variables?.OAUTH_CLIENT_ID);
}

/** Sign in, in another tab, so that nothing on this page is lost. @returns {Promise<Account>} */
export async function signIn() {
  const tab = window.open("", "_blank"); // at once: later it would be a pop-up
  const channel = new BroadcastChannel(CHANNEL);
  const answer = new Promise((resolve) => channel.addEventListener("message", ({ data }) => resolve(data)));
  const redirectUrl = location.origin + location.pathname;
  const address = await (await client()).oauthLoginUrl({ redirectUrl, scopes: "openid profile contribute-repos" });
  if (!tab) throw new MetaStyleError("The browser blocked the tab to sign in; allow it for this page.");
  tab.location.href = address;
  return answer.finally(() => channel.close());
}

/** In that other tab: hand the account to the page, and close. @returns {Promise<boolean>} whether this is that tab */
export async function finishSignIn() {
  if (!/[?&]code=.*&state=|[?&]state=.*&code=/.test(location.search)) return false;
  const found = await (await client()).oauthHandleRedirect();
  const account = { accessToken: found.accessToken, name: found.userInfo.preferred_username };
  new BroadcastChannel(CHANNEL).postMessage(account);
  window.close();
  return true;
}

/**
 * Push a style to a repo of the visitor, which is created if it does not exist; returns its address.
 * @param {Account} account @param {string} name of the repo, without the user
 * @param {Record<string, Uint8Array>} files @param {string} fingerprint of the base
 */
export async function pushStyle({ accessToken, name: user }, name, files, fingerprint) {
  const repo = `${user}/${name}`;
  const tags = [...TAGS, `metastyle-base-${fingerprint.slice(0, 12)}`].map((tag) => `- ${tag}\n`).join("");
  const use = `\`\`\`python\nfrom metastyle_hub import MetaStyle\n\nstyle = MetaStyle.from_pretrained("${repo}")\n\`\`\``;
  const about = "A style of [metastyle_hub](https://github.com/metastyle-hub/metastyle_hub), made in a browser.";
  const data = `library_name: metastyle_hub\npipeline_tag: image-to-image\nlicense: apache-2.0\ntags:\n${tags}`;
  const card = new TextEncoder().encode(`---\n${data}---\n\n# ${name}\n\n${about}\n\n${use}\n`);
  try {
    const { createRepo, uploadFiles } = await client();
    await createRepo({ repo, accessToken }).catch((error) => {
      if (error.statusCode !== 409) throw error; // 409: it exists
    });
    const content = Object.entries({ ...files, "README.md": card }).map(([path, bytes]) => ({
      path, content: new Blob([/** @type {Uint8Array<ArrayBuffer>} */ (bytes)]),
    }));
    await uploadFiles({ repo, accessToken, files: content, commitTitle: `Style ${name}` });
  } catch (error) {
    throw new MetaStyleError(`Pushing to ${repo} failed (${error instanceof Error ? error.message : error}); try again.`);
  }
  return `${HUB}/${repo}`;
}

/** Styles on the Hugging Face Hub; only when the visitor asks for one is anything requested from there. */

import { MetaStyleError } from "./errors.js";

const HUB = "https://huggingface.co";
const REPO = /^([A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95})(?:@([\w./-]+))?$/;

/**
 * Return files of a repo, all of one commit.
 * @param {string} repo user/name or user/name@revision
 * @param {string[]} names @param {number} maxBytes
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

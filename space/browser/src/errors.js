/** The error of this page: one sentence with the value, the cause and the remedy, as the Python library words it. */
export class MetaStyleError extends Error {
  name = "MetaStyleError";
}

/** Return what a person should read of any error. @param {unknown} error */
export function sentence(error) {
  if (error instanceof Error && error.name === "MetaStyleError") return error.message;
  console.error(error);
  const cause = String(error instanceof Error ? error.message : error).replace(/\.$/, "");
  return `Something went wrong: ${cause}. Nothing that you kept is lost.`;
}

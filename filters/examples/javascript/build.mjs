// Makes a component of filter.js: node build.mjs WIT OUT
import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

import { componentize } from "@bytecodealliance/componentize-js";

const [witPath, out] = process.argv.slice(2);
const { component } = await componentize({
  sourcePath: fileURLToPath(new URL("filter.js", import.meta.url)),
  witPath,
  worldName: "push-filter",
  // Each of these would import WASI, and refgate offers none.
  disableFeatures: ["random", "clocks", "stdio", "http", "fetch-event"],
});
await writeFile(out, component);

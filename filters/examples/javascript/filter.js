// A push filter that keeps work in progress at home: no ref with one of the prefixes leaves the site.

const encoder = new TextEncoder();
let prefixes = [];

// What a function throws becomes its error when it is a string. An Error would be a trap without a word.
const reported =
  (work) =>
  (...args) => {
    try {
      return work(...args);
    } catch (e) {
      throw e instanceof Error ? `${e.name}: ${e.message}` : e;
    }
  };

// RFC 6901.
const pointer = (...parts) =>
  parts.map((part) => `/${String(part).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");

export const lifecycle = {
  configure: reported((settings) => {
    const problems = [];
    const found = [];
    for (const [key, given] of Object.entries(JSON.parse(settings))) {
      if (key !== "prefix") {
        problems.push(`${pointer(key)}: unknown, the only setting is \`prefix\``);
        continue;
      }
      const list = Array.isArray(given);
      for (const [index, value] of (list ? given : [given]).entries()) {
        const place = list ? pointer(key, index) : pointer(key);
        if (value.startsWith("refs/")) found.push(value);
        else problems.push(`${place}: does not begin with refs/`);
      }
    }
    if (problems.length > 0) throw problems.join("\n");
    prefixes = (found.length > 0 ? found : ["refs/heads/wip/"]).map((text) => encoder.encode(text));
  }),
};

export const push = {
  filter: reported((batch, verdicts) => {
    for (const prefix of prefixes) {
      verdicts.discard(batch.selectPrefix(prefix), "work-in-progress");
    }
  }),
};

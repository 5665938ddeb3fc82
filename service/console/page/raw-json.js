// JSON as text. Arguments are delivered byte for byte, so the page must not decode and encode what it shows: JSON.parse
// would show 1.10 as 1.1 and round big integers. These functions split and format the text that was received.

const TOKEN = /"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s[\]{},:"]+/g;
const CLOSING = { "[": "]", "{": "}" };

// Returns the exact text of one member of the object in `text`, or null.
export function memberText(text, name) {
  let depth = 0;
  let start = -1;
  let key = null;
  for (const { 0: token, index } of text.matchAll(TOKEN)) {
    if (depth === 1 && start >= 0 && (token === "," || token === "}")) return text.slice(start, index).trim();
    if (token in CLOSING) depth += 1;
    else if (token === "]" || token === "}") depth -= 1;
    else if (depth === 1 && token === ":" && key === name) start = index + 1;
    else if (depth === 1 && start < 0 && token.startsWith('"')) key = JSON.parse(token);
  }
  return null;
}

// Returns the texts of the elements of the array in `text`.
export function elementTexts(text) {
  const tree = parse(text);
  return tree.items.map((item) => flat(item.value).map((piece) => piece.text).join(""));
}

// Returns the text as pieces {kind, text}: on one line where it fits into `width`, indented otherwise.
export function layOut(text, width = 76) {
  return laid(parse(text), 0, width);
}

function parse(text) {
  const tokens = [...text.matchAll(TOKEN)].map((match) => match[0]);
  let at = 0;
  const value = () => {
    const token = tokens[at++];
    if (!(token in CLOSING)) return leaf(token);
    const node = { open: token, close: CLOSING[token], items: [] };
    while (tokens[at] !== node.close) {
      if (tokens[at] === ",") at += 1;
      const key = node.open === "{" ? tokens[at] : null;
      if (key !== null) at += 2;
      node.items.push({ key, value: value() });
    }
    at += 1;
    return node;
  };
  return value();
}

function leaf(text) {
  const kind = text.startsWith('"') ? "string" : /^[-\d]/.test(text) ? "number" : "word";
  return { leaf: { kind, text } };
}

const mark = (text) => ({ kind: "mark-piece", text });
const keyPieces = (key) => (key === null ? [] : [{ kind: "key", text: key }, mark(": ")]);

function flat(node) {
  if (node.leaf) return [node.leaf];
  const inner = node.items.flatMap(({ key, value }, i) => [...(i ? [mark(", ")] : []), ...keyPieces(key), ...flat(value)]);
  const pad = node.open === "{" && inner.length ? " " : "";
  return [mark(node.open + pad), ...inner, mark(pad + node.close)];
}

function laid(node, indent, width) {
  const line = flat(node);
  const length = line.reduce((sum, piece) => sum + piece.text.length, indent);
  if (node.leaf || length <= width) return line;
  const margin = " ".repeat(indent + 2);
  const lines = node.items.flatMap(({ key, value }, i) => [
    mark(`${i ? "," : ""}\n${margin}`), ...keyPieces(key), ...laid(value, indent + 2, width),
  ]);
  return [mark(node.open), ...lines, mark(`\n${" ".repeat(indent)}${node.close}`)];
}

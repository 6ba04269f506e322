// An answer as a score sheet: tokens from left to right, one row of numbers per colouring.

const LONGEST = 18; // characters of a token, which is cut there
const [CHARACTER, ROOM, LEAST, LABEL] = [7.1, 12, 50, 178]; // pixels of a column, as in tokens.css

/** The colourings that an answer has, {name: numbers per token}. */
function colourings(answer) {
  const { log_ratio, visual } = answer.tokens;
  const prefixed = (prefix, of) =>
    Object.entries(of ?? {}).map(([name, numbers]) => [`${prefix}${name}`, numbers]);
  const found = [
    ["log-ratio", log_ratio],
    ...prefixed("advantage: ", answer.advantages),
    ...prefixed("loss: ", answer.losses),
    ...prefixed("note: ", answer.notes),
    ["visual dependency", visual],
    ["student log p", answer.tokens.student],
    ["teacher log p", answer.tokens.teacher],
    ["student entropy", answer.tokens.entropy],
    ["teacher entropy", answer.tokens.teacher_entropy],
    ["rank at teacher", answer.tokens.rank],
  ];
  return new Map(found.filter(([, numbers]) => Array.isArray(numbers)));
}

/** Per colouring the largest |x| of all answers, for colours that are symmetric around 0, and
 * whether any number is below 0. */
function colourLimits(answers) {
  const limits = new Map();
  for (const [name, numbers] of answers.flatMap((answer) => [...colourings(answer)])) {
    const before = limits.get(name) ?? { most: 0, below: false };
    const most = numbers.reduce((most, x) => Math.max(most, Math.abs(x ?? 0)), before.most);
    limits.set(name, { most, below: before.below || numbers.some((x) => x < 0) });
  }
  return limits;
}

/** Blue above 0, red below it; the share of the limit decides how much of it. */
function paint(node, x, { most }) {
  if (x === null || x === undefined) return node;
  const share = most ? Math.abs(x) / most : 0;
  const pole = `var(--${x < 0 ? "below" : "above"}) ${(100 * share).toFixed(1)}%`;
  node.style.background = `color-mix(in oklab, ${pole}, var(--zero))`;
  if (share > 0.62) node.classList.add("strong");
  return node;
}

/** The colour bar of a row, with its limits; from 0 where nothing is below it. */
function colourBar({ most, below }) {
  const from = below ? number(-most) : "0";
  const bar = el("i", { class: below ? "" : "half" });
  return el("span", { class: "bar" }, from, bar, number(most));
}

/** Every number of one token, for the tip. */
function tokenTip(answer, at) {
  const { text } = answer.tokens;
  const numbers = [...colourings(answer)].map(([name, values]) => [name, number(values[at], 4)]);
  return [[`token ${at + 1} of ${text.length}`, visible(text[at])], ...numbers];
}

const widthOf = (token) =>
  Math.max(LEAST, Math.min(LONGEST, token.length) * CHARACTER + ROOM);

/** Tokens in lines that fit the width: [[first, last + 1]]. */
function linesOf(tokens, width) {
  const columns = tokens.map((token) => widthOf(visible(token)));
  const room = width - LABEL;
  const lines = [];
  let [start, used] = [0, 0];
  columns.forEach((column, at) => {
    if (used + column > room && at > start) {
      lines.push([start, at]);
      [start, used] = [at, 0];
    }
    used += column;
  });
  return [...lines, [start, tokens.length]];
}

/** One table per line of the answer: a row of tokens, then a row per colouring. */
function sheet(answer, shown, limits, width, marked) {
  const rows = [...colourings(answer)].filter(([name]) => shown.includes(name));
  return linesOf(answer.tokens.text, width).map(([from, to], line) => {
    const places = [...Array(to - from).keys()].map((at) => from + at);
    const head = places.map((at) => tokenHead(answer, at, at === marked));
    const body = rows.map(([name, values]) => {
      const limit = limits.get(name);
      const label = el("th", { scope: "row" }, name, line ? null : colourBar(limit));
      const cells = places.map((at) => numberCell(answer, at, values, limit));
      return el("tr", { "data-colouring": name }, label, cells);
    });
    return el(
      "table",
      { class: "sheet" },
      el("thead", {}, el("tr", {}, el("td"), head)),
      el("tbody", {}, body),
    );
  });
}

function tokenHead(answer, at, marked) {
  const token = visible(answer.tokens.text[at]);
  const short = token.length > LONGEST ? `${token.slice(0, LONGEST - 1)}…` : token;
  return tipped(el("th", { scope: "col", class: marked ? "marked" : "" }, short), answer, at);
}

function numberCell(answer, at, values, limit) {
  const cell = el("td", {}, el("span", {}, brief(values[at])));
  return tipped(paint(cell, values[at], limit), answer, at);
}

/** Two significant digits, as a cell has room for; nothing where nothing was measured. */
function brief(x) {
  if (x === null || x === undefined) return "";
  return x !== 0 && Math.abs(x) < 0.005 ? "≈0" : number(x, 2);
}

/** The whole answer as running text in one colouring. */
function chips(answer, name, limits, marked) {
  const values = colourings(answer).get(name) ?? [];
  const bar = el("p", { class: "legend" }, `${name} `, colourBar(limits.get(name)));
  const shown = answer.tokens.text.map((token, at) => {
    const chip = el("span", { class: at === marked ? "token marked" : "token" }, visible(token));
    return tipped(paint(chip, values[at], limits.get(name)), answer, at);
  });
  return [bar, el("p", { class: "chips" }, shown)];
}

function tipped(node, answer, at) {
  node.onpointermove = (event) => showTip(event, tokenTip(answer, at));
  node.onpointerleave = hideTip;
  return node;
}

// Answers with their image, coloured token by token; the most extreme tokens of all answers.

const SIDE_BY_SIDE = "side by side";
const EXTREMES = 12;
const GROUPS = { advantage: "advantages", loss: "losses", note: "notes" };
const MOST_ROWS = 12; // of a sheet, before losses and notes are switched off at first
const view = { file: 0, answer: 0, mode: SIDE_BY_SIDE, by: "log-ratio", marked: null };
let inspected = [];

async function renderTokens() {
  inspected = await unpack("tokens");
  const command = el("code", {}, "gndpo-inspect run=<folder>");
  const none = ["No run has answers to show. ", command, " writes them into its folder."];
  const whole = ["What each strategy would give to the same answer, from ", command, ". "];
  const sampled = ["Last samples of one run per arm. All strategies on an answer: ", command, ". "];
  const kind = inspected[0]?.file === "tokens.json" ? whole : sampled;
  const colours = "Blue: above 0; red: below 0; each row up to its own largest number.";
  byId("tokens-lead").append(...(inspected.length ? [...kind, colours] : none));
  if (inspected.length === 0) return;
  chooseFile(0);
  addEventListener("resize", showAnswer);
}

function chooseFile(place) {
  const { answers } = inspected[place];
  const names = answers.length ? [...colourings(answers[0]).keys()] : [];
  const groups = names.length > MOST_ROWS ? ["advantage"] : Object.keys(GROUPS);
  const limits = colourLimits(answers);
  Object.assign(view, { file: place, marked: null, limits, groups: new Set(groups) });
  if (!names.includes(view.by)) view.by = names[0];
  if (view.mode !== SIDE_BY_SIDE && !names.includes(view.mode)) view.mode = SIDE_BY_SIDE;
  view.answer = byExtreme()[0] ?? 0;
  renderTokenControls(names);
  showTokens();
}

/** Places of the answers, the one with the most extreme token first. */
function byExtreme() {
  const { answers } = inspected[view.file];
  const most = answers.map((answer) =>
    (colourings(answer).get(view.by) ?? []).reduce((m, x) => Math.max(m, Math.abs(x ?? 0)), 0),
  );
  return [...answers.keys()].sort((a, b) => most[b] - most[a]);
}

function renderTokenControls(names) {
  const files = inspected.map(({ run, step }, place) => [
    String(place),
    `${run.split("/").at(-1)}, step ${step}`,
  ]);
  const pick = (key) => (value) => {
    view[key] = value;
    if (key === "by") view.answer = byExtreme()[0];
    showTokens();
  };
  const modes = [SIDE_BY_SIDE, ...names].map((name) => [name, name]);
  const { left_out } = inspected[view.file];
  byId("token-controls").replaceChildren(
    chooser("Answers of", files, String(view.file), (place) => chooseFile(Number(place))),
    chooser("Colour", modes, view.mode, pick("mode")),
    chooser(
      "Most extreme by",
      names.map((name) => [name, name]),
      view.by,
      pick("by"),
    ),
    ...Object.entries(GROUPS).map(([group, title]) => groupSwitch(group, title)),
    el("span", { class: "count" }, left_out ? `${left_out} answers did not fit into the page` : ""),
  );
}

/** Whether a sheet has the rows of a group. */
function groupSwitch(group, title) {
  const box = el("input", { type: "checkbox", checked: view.groups.has(group) });
  box.onchange = () => {
    if (!view.groups.delete(group)) view.groups.add(group);
    showAnswer();
  };
  return el("label", { class: "value" }, box, title);
}

/** The rows of a sheet: the log-ratio, the chosen groups, visual dependency. */
const sheetRows = (names) =>
  names.filter(
    (name) =>
      ["log-ratio", "visual dependency"].includes(name) || view.groups.has(name.split(":")[0]),
  );

function showTokens() {
  const list = el("ol", { class: "answers", "aria-label": "answers" });
  const shown = el("div", { id: "answer" });
  const extremes = el("table", { id: "extremes" });
  byId("token-view").replaceChildren(list, shown, el("div", { class: "scroll" }, extremes));
  list.append(...byExtreme().map(answerItem));
  extremes.append(...extremeRows());
  showAnswer();
}

/** An answer in the list: its first words, and its most extreme number. */
function answerItem(place) {
  const answer = inspected[view.file].answers[place];
  const values = colourings(answer).get(view.by) ?? [];
  const worst = values.reduce((m, x) => (Math.abs(x) > Math.abs(m) ? x : m), 0);
  const state = answer.correct ? "right" : "wrong";
  const open = () => {
    Object.assign(view, { answer: place, marked: null });
    showTokens();
  };
  const attributes = { type: "button", "aria-current": String(view.answer === place) };
  return el(
    "li",
    {},
    el(
      "button",
      { ...attributes, onclick: open },
      el("b", {}, number(worst)),
      ` ${answer.kind ?? questionOf(answer)} `,
      el("span", { class: "soft" }, state),
    ),
  );
}

/** The prompt without the marks of its template. */
const questionOf = ({ prompt }) =>
  (prompt ?? "")
    .replace(/<[^<>\s]*>/g, " ")
    .replace(/\b(user|assistant|system)\n/g, " ")
    .trim();

function showAnswer() {
  const answer = inspected[view.file].answers[view.answer];
  if (!answer) return;
  const node = byId("answer");
  const all = [...colourings(answer).keys()];
  const body =
    view.mode === SIDE_BY_SIDE
      ? sheet(answer, sheetRows(all), view.limits, node.clientWidth, view.marked)
      : chips(answer, view.mode, view.limits, view.marked);
  node.replaceChildren(answerHead(answer), el("div", { class: "scroll" }, body));
}

function answerHead(answer) {
  const images = (answer.images ?? []).filter((image) => image.startsWith("data:image/"));
  const facts = [
    ["question", questionOf(answer)],
    ["right answer", String(answer.truth ?? "-")],
    ["reward", `${number(answer.reward)}, ${answer.correct ? "right" : "wrong"}`],
  ];
  return el(
    "div",
    { class: "answer-head" },
    images.map((image) => el("img", { src: image, alt: "image of the prompt" })),
    el(
      "dl",
      {},
      facts.flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)]),
    ),
  );
}

/** The tokens whose number is furthest from 0, over all answers. */
function extremeRows() {
  const { answers } = inspected[view.file];
  const found = answers.flatMap((answer, place) =>
    (colourings(answer).get(view.by) ?? []).map((x, at) => ({ x, at, place, answer })),
  );
  found.sort((a, b) => Math.abs(b.x) - Math.abs(a.x));
  const names = ["log-ratio", "student log p", "teacher log p"];
  const advantages = [...view.limits.keys()].filter((name) => name.startsWith("advantage"));
  const columns = [...new Set([view.by, ...names, ...advantages])].filter((name) =>
    view.limits.has(name),
  );
  const head = [
    "token",
    "place",
    "answer",
    ...columns.map((name) => name.replace("advantage: ", "")),
  ];
  return [
    el("caption", {}, `Most extreme tokens of all ${answers.length} answers, by ${view.by}`),
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        head.map((name) => el("th", { scope: "col" }, name)),
      ),
    ),
    el(
      "tbody",
      {},
      found.slice(0, EXTREMES).map((token) => extremeRow(token, columns)),
    ),
  ];
}

function extremeRow({ at, place, answer }, columns) {
  const open = () => {
    Object.assign(view, { answer: place, marked: at });
    showTokens();
  };
  const name = el("button", { type: "button", onclick: open }, visible(answer.tokens.text[at]));
  const known = colourings(answer);
  return el(
    "tr",
    {},
    el("th", { scope: "row" }, name),
    el("td", {}, String(at + 1)),
    el("td", { class: "words" }, answer.kind ?? questionOf(answer)),
    columns.map((column) => el("td", {}, number(known.get(column)?.[at]))),
  );
}

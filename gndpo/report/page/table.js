// The overview: a row per arm, opened into its runs; sorted by a click on a column.

const sorting = { key: null, descending: true };
const opened = new Set();
const MARKED = { accuracy: false, tail_ratio: true, seconds: false }; // value: on a log scale
const MARK_WIDTH = 72;

function renderTable() {
  const scales = markScales();
  const rows = filtered().map((place) => ARMS[place]);
  if (sorting.key !== null) rows.sort(compareArms);
  byId("table").replaceChildren(
    el("thead", {}, groupRow(), titleRow()),
    el(
      "tbody",
      { class: "references" },
      META.references.map((row) => referenceRow(row, scales)),
    ),
    el(
      "tbody",
      {},
      rows.flatMap((arm) => armRows(arm, scales)),
    ),
  );
}

/** By the chosen column; what was not measured comes last, both ways. */
function compareArms(a, b) {
  const [x, y] = [a, b].map((arm) =>
    sorting.key === "name" ? arm.name : sorting.key === "runs" ? arm.total : value(arm),
  );
  if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
  const order = x < y ? -1 : x > y ? 1 : 0;
  return sorting.descending ? -order : order;
}

const value = (arm) => arm.cells[sorting.key]?.[1];

function groupRow() {
  const group = (name, title) => {
    const span = META.columns.filter((column) => column.group === name).length;
    return el("th", { colspan: span, scope: "colgroup", class: "first" }, title);
  };
  return el(
    "tr",
    { class: "groups" },
    el("td", { colspan: 2 }),
    group("learning", "Learning"),
    group("stability", "Stability"),
  );
}

function titleRow() {
  const first = [
    { key: "name", title: "arm" },
    { key: "runs", title: "runs" },
  ];
  return el("tr", {}, [...first, ...META.columns].map(columnHead));
}

function columnHead({ key, title }, place, columns) {
  const active = sorting.key === key;
  const state = !active ? "none" : sorting.descending ? "descending" : "ascending";
  const sort = () => {
    Object.assign(sorting, { key, descending: active ? !sorting.descending : key !== "name" });
    renderTable();
  };
  const arrow = !active ? "" : sorting.descending ? " ↓" : " ↑";
  const button = el("button", { type: "button", onclick: sort }, title + arrow);
  const kind = startsGroup(columns, place) ? "first" : "";
  return el("th", { scope: "col", "aria-sort": state, "data-key": key, class: kind }, button);
}

const startsGroup = (columns, place) =>
  place > 0 && columns[place].group !== columns[place - 1].group;

function referenceRow(row, scales) {
  return el("tr", {}, el("th", { scope: "row" }, row.name), el("td", {}), numberCells(row, scales));
}

function armRows(arm, scales) {
  const flip = () => {
    if (!opened.delete(arm.name)) opened.add(arm.name);
    renderTable();
  };
  const open = opened.has(arm.name);
  const attributes = { type: "button", class: "opener", "aria-expanded": String(open) };
  const name = el("button", { ...attributes, onclick: flip }, open ? "▾" : "▸");
  const runs = arm.completed === arm.total ? arm.total : `${arm.completed} of ${arm.total}`;
  const head = el("th", { scope: "row" }, name, swatch(arm), el("span", {}, arm.name));
  const row = el(
    "tr",
    { "data-arm": arm.name },
    head,
    el("td", {}, String(runs)),
    numberCells(arm, scales, armColour(arm)),
  );
  return [row, ...(open ? passing(arm).map((run) => runRow(RUNS[run])) : [])];
}

/** A run: a link to its folder, what became of it, its numbers. */
function runRow(run) {
  const done = run.status === "completed";
  const progress = done ? run.status : `${run.status} at step ${run.step ?? "?"} of ${run.steps ?? "?"}`;
  const status = el("span", { class: done ? "soft" : "warning", title: run.reason }, progress);
  const link = el("a", { href: run.link, title: run.overrides.join("\n") }, run.name);
  const why = run.reason ? el("span", { class: "warning" }, run.reason) : null;
  const head = el("th", { scope: "row" }, `seed ${run.seed} `, link, " ", status, " ", why);
  return el("tr", { class: "run" }, head, el("td", {}), numberCells(run, {}));
}

function numberCells(row, scales, colour) {
  return META.columns.map(({ key }, place, columns) => {
    const cell = row.cells[key];
    const mark = cell && scales[key] && colour ? markOf(cell, scales[key], colour) : null;
    const kind = place === 0 || startsGroup(columns, place) ? "first" : "";
    return el("td", { class: kind }, cell ? cell[0] : "-", mark);
  });
}

/** The range of each marked column over all arms, through which all its marks share a scale. */
function markScales() {
  const found = {};
  for (const [key, log] of Object.entries(MARKED)) {
    const cells = ARMS.map((arm) => arm.cells[key]).filter(Boolean);
    const seen = cells.map((cell) => cell[1]);
    const ends = [Math.min(...seen), Math.max(...seen)];
    const room = log ? Math.log(ends[1] / ends[0]) : ends[1] - ends[0];
    if (cells.length > 1 && room > 0) found[key] = { low: ends[0], room, log };
  }
  return found;
}

/** A dot at the mean and a line along its spread, cut at the ends of the cell. */
function markOf(cell, { low, room, log }, colour) {
  const [, mean, ...ends] = cell;
  const share = (x) => (log ? Math.log(Math.max(x, 1e-12) / low) : x - low) / room;
  const at = (x) => Math.max(0, Math.min(1, 0.15 + 0.7 * share(x))) * MARK_WIDTH;
  const bar = el("i", { class: "mark" });
  if (ends.length === 2) {
    const [from, to] = ends.map(at);
    const style = `left:${from}px;width:${Math.max(1, to - from)}px;background:${colour}`;
    bar.append(el("i", { class: "spread", style }));
  }
  bar.append(el("i", { class: "dot", style: `left:${at(mean)}px;background:${colour}` }));
  return bar;
}

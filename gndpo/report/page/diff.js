// The configuration of one arm beside that of another.

const compared = [0, Math.min(1, ARMS.length - 1)];

function renderDiff() {
  const options = ARMS.map((arm, place) => [String(place), arm.name]);
  const choose = (side) => (place) => {
    compared[side] = Number(place);
    showDiff();
  };
  byId("diff-controls").append(
    ...["Arm", "against"].map((label, side) =>
      chooser(label, options, String(compared[side]), choose(side)),
    ),
  );
  showDiff();
}

/** The values that an arm's runs have at a key. */
const valuesAt = (key, runs) => [...new Set(runs.map((run) => valueOf(key, run)))].sort();

/** Keys at which the two arms have other values: {key, values, kind}. */
function differences([a, b]) {
  const sides = [ARMS[a].runs, ARMS[b].runs];
  const found = configs.keys
    .filter((_, place) => configs.codes[place].length > 0)
    .map((key) => ({ key, values: sides.map((runs) => valuesAt(key, runs)) }))
    .filter(({ values: [x, y] }) => x.join("\n") !== y.join("\n"));
  const order = ["unintended", "advantage", "method", "bookkeeping"];
  const kinds = found.map((entry) => ({ ...entry, kind: kindOf(entry.key, sides.flat()) }));
  return kinds.sort((x, y) => order.indexOf(x.kind) - order.indexOf(y.kind));
}

/** Whether a difference makes the comparison unfair, as gndpo.report.arms judges it. */
function kindOf(key, runs) {
  const root = key.split(".")[0];
  if (root === "advantage") return "advantage";
  if (!configs.compared.includes(key)) return "bookkeeping";
  const judged = runs.filter((run) => !(RUNS[run].method && configs.method.includes(root)));
  return valuesAt(key, judged).length > 1 ? "unintended" : "method";
}

const KINDS = {
  unintended: "not only the advantage",
  advantage: "advantage",
  method: "by design of the method",
  bookkeeping: "names and seeds",
};

function showDiff() {
  const found = differences(compared);
  const verdict = byId("diff-verdict");
  verdict.className = keysOf("unintended", found) ? "warning" : "fine";
  verdict.textContent = diffVerdict(found);
  const head = ["key", ...compared.map((place) => ARMS[place].name), "kind"];
  byId("diff-table").hidden = found.length === 0;
  byId("diff-table").replaceChildren(
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        head.map((title) => el("th", { scope: "col" }, title)),
      ),
    ),
    el("tbody", {}, found.map(diffRow)),
  );
}

const keysOf = (wanted, found) =>
  found
    .filter(({ kind }) => kind === wanted)
    .map(({ key }) => key)
    .join(", ");

function diffVerdict(found) {
  if (compared[0] === compared[1]) return "This is the same arm twice: choose another one.";
  if (found.length === 0) return "Both have the same configuration.";
  const [unfair, design] = ["unintended", "method"].map((kind) => keysOf(kind, found));
  if (unfair)
    return `These two differ in more than the advantage: ${unfair}. Not a comparison of strategies.`;
  const method = design && `, and by design of the method ${design}`;
  return `Apart from the advantage, names and seeds${method}, both have the same configuration.`;
}

function diffRow({ key, values, kind }) {
  const cells = values.map((side) => el("td", {}, side.join(", ")));
  const name = el("th", { scope: "row" }, key);
  return el("tr", { class: kind }, name, cells, el("td", {}, KINDS[kind]));
}

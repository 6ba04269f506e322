// Filters: free text, and values of any configuration key.

const MOST_VALUES = 40; // values of a key that are offered one by one

function renderFilters() {
  const shown = configs.keys.filter((key) => filters.values.has(key));
  byId("filters").replaceChildren(
    textFilter(),
    keyChooser(),
    ...shown.map(keyFilter),
    el("span", { class: "count", id: "count" }, countText()),
  );
}

function countText() {
  const runs = filtered().reduce((sum, place) => sum + passing(ARMS[place]).length, 0);
  return `${filtered().length} of ${ARMS.length} arms, ${runs} of ${RUNS.length} runs`;
}

function filterChanged() {
  changed();
  byId("count").textContent = countText();
}

function textFilter() {
  const input = el("input", { type: "search", placeholder: "arm, run, seed=0, clamp" });
  input.value = filters.text;
  input.oninput = () => {
    filters.text = input.value.trim();
    filterChanged();
  };
  return el("label", {}, "Filter", input);
}

/** Keys whose value differs between runs come first; of others there is nothing to pick. */
function keyChooser() {
  const varying = configs.keys.filter((_, place) => configs.values[place].length > 1);
  const options = [["", "by key …"], ...varying.map((key) => [key, key])];
  const choose = (key) => {
    if (key === "") return;
    filters.values.set(key, new Set(configs.values[configs.keys.indexOf(key)]));
    renderFilters();
  };
  const label = chooser("Configuration", options, "", choose);
  label.title = `${configs.keys.length - varying.length} more keys are the same in all runs`;
  return label;
}

/** A key with a box per value. */
function keyFilter(key) {
  const kept = filters.values.get(key);
  const values = configs.values[configs.keys.indexOf(key)];
  const more = values.length > MOST_VALUES ? `, the first ${MOST_VALUES} values` : "";
  const boxes = values.slice(0, MOST_VALUES).map((value) => {
    const box = el("input", { type: "checkbox", checked: kept.has(value) });
    box.onchange = () => {
      if (box.checked) kept.add(value);
      else kept.delete(value);
      filterChanged();
    };
    return el("label", { class: "value" }, box, value);
  });
  const drop = () => {
    filters.values.delete(key);
    renderFilters();
    filterChanged();
  };
  const close = el("button", { type: "button", onclick: drop, "aria-label": `drop ${key}` }, "×");
  return el("fieldset", { "data-filter": key }, el("legend", {}, key + more), boxes, close);
}

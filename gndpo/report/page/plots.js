// Plotly, loaded when the first plot is looked at, and drawn in the page's own style.

let plotly = null;

function loadPlotly() {
  plotly ??= unpackText("plotly").then((code) => {
    document.head.append(el("script", {}, code));
    return window.Plotly;
  });
  return plotly;
}

/** An axis with its title, in the page's style. */
function axis({ title = "", ...changes } = {}) {
  return {
    gridcolor: themed("grid"),
    linecolor: themed("line"),
    tickcolor: themed("line"),
    zeroline: false,
    automargin: true,
    title: { text: title, font: { size: 11.5, color: themed("soft") }, standoff: 6 },
    tickfont: { color: themed("soft"), size: 11 },
    ...changes,
  };
}

const stepAxis = (changes = {}) =>
  axis({ showgrid: false, showline: true, ticks: "outside", ticklen: 3, nticks: 7, ...changes });

/** Ticks at 1, 2, 5, 10 over a few decades, at powers of ten over many. */
const logAxis = (decades, changes = {}) =>
  axis({
    type: "log",
    dtick: decades < 3 ? "D2" : Math.ceil(decades / 6),
    tickformat: "~g",
    ...changes,
  });

/** Decimal logarithms of the ends of all positive numbers, with a little room. */
function logRange(values) {
  const positive = values.filter((y) => y > 0);
  const ends = positive.reduce(([a, b], y) => [Math.min(a, y), Math.max(b, y)], [Infinity, 0]);
  return positive.length ? [Math.log10(ends[0]) - 0.1, Math.log10(ends[1]) + 0.15] : [0, 1];
}

function layout(changes) {
  return {
    font: { family: "system-ui, sans-serif", size: 12, color: themed("ink") },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 48, r: 10, t: 8, b: 34 },
    showlegend: false,
    hovermode: "closest",
    hoverlabel: {
      bgcolor: themed("raised"),
      bordercolor: themed("line"),
      font: { color: themed("ink"), size: 12 },
    },
    ...changes,
  };
}

const CONFIG = {
  responsive: true,
  displaylogo: false,
  modeBarButtons: [["toImage", "resetScale2d"]],
};

async function plot(node, traces, changes) {
  const Plotly = await loadPlotly();
  await Plotly.react(node, traces, layout(changes), CONFIG);
}

/** New children, after the plots among the old ones have let go of what they hold. */
function replacePlots(node, children) {
  for (const old of node.querySelectorAll(".js-plotly-plot")) window.Plotly.purge(old);
  node.replaceChildren(...children);
}

const panels = [];

/** Draws when `node` comes into view, and again when what is shown has changed. */
function panel(node, draw) {
  const entry = { node, draw, seen: false, stale: true, turn: Promise.resolve() };
  panels.push(entry);
  const observer = new IntersectionObserver(
    ([{ isIntersecting }]) => {
      entry.seen = isIntersecting;
      redraw(entry);
    },
    { rootMargin: "300px" },
  );
  observer.observe(node);
  return entry;
}

async function redraw(entry) {
  if (!entry.seen || !entry.stale) return;
  entry.stale = false;
  entry.turn = entry.turn.then(entry.draw); // one after the other: the latest is drawn last
  await entry.turn;
  entry.node.dataset.drawn = "";
}

/** All panels, or one of them, are out of date. */
function outdated(which = panels) {
  for (const entry of which) {
    entry.stale = true;
    redraw(entry);
  }
}

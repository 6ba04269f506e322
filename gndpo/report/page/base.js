"use strict";
// What all panels share: the page's data, elements made of text alone, numbers as people read them.

const META = JSON.parse(document.getElementById("meta").textContent);
const ARMS = META.arms;
const RUNS = META.runs;
const PACKS = new Map(
  [...document.querySelectorAll("script[data-pack]")].map((node) => [node.dataset.pack, node]),
);

const byId = (id) => document.getElementById(id);

/** An element; strings become text, so nothing that a model wrote is ever read as HTML. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function" || typeof value === "boolean") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

const unpacking = new Map();

/** The text of a pack: base64, then gzip. */
async function unpackText(name) {
  const binary = atob(PACKS.get(name).textContent);
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

/** The numbers of a pack, read once; null where the page has no such pack. */
function unpack(name) {
  if (!PACKS.has(name)) return Promise.resolve(null);
  if (!unpacking.has(name)) unpacking.set(name, unpackText(name).then(JSON.parse));
  return unpacking.get(name);
}

/** Three significant digits, thousands apart; "-" for what is not there. */
function number(x, digits = 3) {
  if (x === null || x === undefined) return "-";
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size >= 1e6 || size < 1e-4) return x.toExponential(digits - 1).replace("-", "−");
  if (size >= 1000) return Math.round(x).toLocaleString("en").replace("-", "−");
  return String(Number(x.toPrecision(digits))).replace("-", "−");
}

/** Spaces and line ends of a token, made visible. */
const visible = (token) => token.replace(/[ Ġ▁]/g, "·").replace(/[\nĊ]/g, "⏎");

/** Text for plotly, which reads some tags. */
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

/** A colour of style.css in the present theme, as plotly needs it. */
function themed(name) {
  const probe = el("i", { style: `color: var(--${name})` });
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

const ON_DARK = { "#000000": "#E8E8E8", "#0072B2": "#4AA8E0", "#5E3C99": "#A58AD6" };
const isDark = () => document.documentElement.dataset.theme === "dark";
const inTheme = (colour) => (isDark() && ON_DARK[colour]) || colour;
const armColour = (arm) => inTheme(arm.colour);

/** `#RRGGBB` with an opacity. */
function faint(colour, opacity) {
  const parts = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return `rgba(${parts.join(",")},${opacity})`;
}

function showTip(event, lines) {
  const tip = byId("tip");
  tip.replaceChildren(...lines.map(([name, value]) => el("div", {}, el("b", {}, name), value)));
  tip.hidden = false;
  const { clientX: x, clientY: y } = event;
  tip.style.left = `${Math.max(8, Math.min(x + 12, innerWidth - tip.offsetWidth - 8))}px`;
  const below = y + 18 + tip.offsetHeight < innerHeight;
  tip.style.top = `${below ? y + 18 : Math.max(8, y - 12 - tip.offsetHeight)}px`;
}

const hideTip = () => {
  byId("tip").hidden = true;
};

/** A labelled chooser. */
function chooser(label, options, chosen, choose) {
  const select = el("select", { onchange: () => choose(select.value) });
  select.append(
    ...options.map(([value, text]) => el("option", { value, selected: value === chosen }, text)),
  );
  return el("label", {}, label, select);
}

// Training runs: sheets of pictures over kimg, and every number's curve; new ones come by themselves.

import { colour, drawLine } from "./line.js";

const POLL_MS = 4000;
const KIMG = "Progress/kimg";
const GROUPS = [ // what is looked at first stands first
  ["Measures", /^Metrics?\//], ["Losses", /^Loss\//], ["Progress", /^Progress\//], ["Guards", /^Guard\//],
  ["Times and memory", /^(Timing|Resources)\//], ["Other", /./],
];
const $ = (id) => document.getElementById(id);
const page = { run: null, place: 0, series: new Map(), sheets: {}, plots: new Map(), newest: true };

const number = (value) => (Math.abs(value) >= 1e4 || (value && Math.abs(value) < 1e-3) ? value.toExponential(2) : value.toPrecision(3));
const address = (...parts) => `/runs/${parts.map(encodeURIComponent).join("/")}`;

async function choose(run) {
  Object.assign(page, { run, place: 0, series: new Map(), sheets: {}, plots: new Map(), newest: true });
  $("numbers").replaceChildren();
  await poll();
}

async function poll() {
  clearTimeout(page.timer);
  const run = page.run;
  try {
    const answer = await fetch(`${address(run, "progress.json")}?place=${page.place}`);
    if (answer.ok && run === page.run) take(await answer.json());
    else if (!answer.ok) $("about").textContent = "this run is gone";
  } catch {
    $("about").textContent = "no connection; trying again …";
  }
  page.timer = setTimeout(poll, POLL_MS);
}

function take({ place, ticks, sheets, metrics, snapshot }) {
  if (place < page.place) page.series.clear(); // it resumed from an earlier checkpoint
  page.place = place;
  for (const tick of ticks) {
    for (const [name, value] of Object.entries(tick)) {
      if (name === KIMG) continue;
      if (!page.series.has(name)) page.series.set(name, []);
      page.series.get(name).push([tick[KIMG], value]);
    }
  }
  for (const [name, points] of Object.entries(metrics)) page.series.set(`Metric/${name}`, points);
  const kimgs = [...page.series.values()].flat().map(([kimg]) => kimg);
  page.kimg = [Math.min(...kimgs, Infinity), Math.max(...kimgs, -Infinity)];
  $("about").textContent = kimgs.length ? `${number(page.kimg[1])} kimg` : "no numbers yet";
  $("try").hidden = !snapshot;
  if (snapshot) $("try").href = `/#model=${encodeURIComponent(snapshot)}`;
  takeSheets(sheets);
  showNumbers();
}

function takeSheets(sheets) {
  const first = Object.keys(page.sheets).length === 0;
  page.sheets = sheets;
  const names = Object.keys(sheets).sort((a, b) => sheets[b].length - sheets[a].length || (a < b ? -1 : 1));
  const shown = $("shows").value;
  $("shows").replaceChildren(...names.map((name) => new Option(name, name)));
  $("shows").value = !first && names.includes(shown) ? shown : names[0] ?? "";
  showSheet();
}

function showSheet() {
  const sheets = page.sheets[$("shows").value] ?? [];
  $("kimg").max = Math.max(0, sheets.length - 1);
  if (page.newest) $("kimg").value = $("kimg").max;
  $("kimg").disabled = sheets.length < 2;
  const sheet = sheets[Number($("kimg").value)];
  $("no-sheet").hidden = Boolean(sheet);
  $("sheet").hidden = !sheet;
  page.at = sheet && sheets.length > 1 ? sheet[0] : null;
  if (!sheet) return;
  $("kimg-value").value = sheets.length > 1 ? `${sheet[0]} kimg` : "";
  const source = address(page.run, "sheets", sheet[1]);
  if ($("sheet").getAttribute("src") !== source) $("sheet").src = source;
  $("sheet").alt = `${$("shows").value} after ${sheet[0]} thousand images`;
  for (const next of [sheets[Number($("kimg").value) + 1], sheets[Number($("kimg").value) - 1]]) {
    if (next) new Image().src = address(page.run, "sheets", next[1]); // ready when the slider moves
  }
}

function group(name) {
  const [title] = GROUPS.find(([, pattern]) => pattern.test(name));
  let box = document.querySelector(`[data-group="${title}"]`);
  if (!box) {
    box = document.createElement("section");
    box.dataset.group = title;
    box.appendChild(document.createElement("h2")).textContent = title;
    const order = GROUPS.findIndex(([one]) => one === title);
    const after = [...$("numbers").children].find((one) => GROUPS.findIndex(([t]) => t === one.dataset.group) > order);
    $("numbers").insertBefore(box, after ?? null);
  }
  return box;
}

function showNumbers() {
  for (const [name, points] of [...page.series].sort()) {
    if (!page.plots.has(name)) {
      const figure = group(name).appendChild(document.createElement("div"));
      figure.className = "plot";
      const text = figure.appendChild(document.createElement("p"));
      text.textContent = name.replace(/^\w+\//, "");
      const value = text.appendChild(document.createElement("b"));
      const canvas = figure.appendChild(document.createElement("canvas"));
      canvas.setAttribute("role", "img");
      page.plots.set(name, { value, canvas });
    }
    const { value, canvas } = page.plots.get(name), ys = points.map(([, y]) => y);
    const [least, most] = [Math.min(...ys), Math.max(...ys)];
    value.textContent = number(ys.at(-1));
    canvas.setAttribute("aria-label", `${name}: from ${number(least)} to ${number(most)}, now ${number(ys.at(-1))}`);
    canvas.title = `${number(least)} to ${number(most)}`;
    const stroke = colour(name.startsWith("Metric/") ? "target" : "text");
    drawLine(canvas, points, { x: page.kimg, y: [least, most] }, stroke, page.at);
  }
}

$("run").addEventListener("change", () => choose($("run").value));
$("shows").addEventListener("change", () => {
  page.newest = true;
  showSheet();
  showNumbers();
});
$("kimg").addEventListener("input", () => {
  page.newest = $("kimg").value === $("kimg").max;
  showSheet();
  showNumbers();
});
addEventListener("resize", showNumbers);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showNumbers);

const runs = await (await fetch("/runs.json")).json();
$("run").replaceChildren(...runs.map((name) => new Option(name, name)));
if (runs.length) await choose(runs[0]);
else $("about").textContent = "there are no runs: start the studio with a folder of them";

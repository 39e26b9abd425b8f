// The page: what the server says goes to the elements, what the user does goes to the server.

import { Directions } from "./directions.js";
import { SettingsForm } from "./form.js";
import { Plots } from "./plots.js";
import { Stage } from "./stage.js";
import { Wire } from "./wire.js";

const NOTE_MS = 8000;
const $ = (id) => document.getElementById(id);
const GALLERY = 24;
const SAVED = {
  "save-picture": "picture.png", "save-photograph": "photograph.png", "save-edit": "edit",
  "save-video": "drag.mp4", "save-gif": "drag.gif",
};
const page = { state: null, session: "", first: null, live: true, gallery: 0, held: null };
const described = await (await fetch("/description.json")).json();

const wire = new Wire(described.messages.commands, {
  Hello(hello) {
    page.session = hello.session;
    page.device = hello.device;
    $("model").replaceChildren(...hello.models.map((name) => new Option(name, name)));
    $("runs-link").hidden = !hello.runs;
    const wanted = decodeURIComponent(location.hash.replace("#model=", ""));
    page.wanted = hello.models.includes(wanted) ? wanted : null;
    page.first = page.wanted ?? hello.first ?? (hello.models.includes("toycars64") ? "toycars64" : hello.models[0]);
    for (const [id, name] of Object.entries(SAVED)) $(id).href = `/sessions/${hello.session}/saved/${name}`;
  },
  State: show,
  Mask({ bits }) {
    stage.mask.fromBits(bits);
    stage.draw();
  },
  Rows: (rows) => plots.add(rows),
  Note({ text, field }) {
    note(field ? `${field}: ${text.replace(new RegExp(`^${field}:? `), "")}` : text);
  },
  frame(bitmap) {
    $("empty").hidden = true;
    stage.show(bitmap);
    page.frames = (page.frames ?? 0) + 1;
    stage.canvas.dataset.frames = page.frames;
  },
  lost() {
    $("status").textContent = "no connection; trying again …";
    directions.forget();
  },
});

const plots = new Plots($("plots"));
const form = new SettingsForm($("settings"), described.settings, (name, value) => {
  wire.send("Choose", { settings: { [name]: value } });
});
const directions = new Directions($("directions"), {
  slide: (values) => wire.send("Slide", { values }),
  steer: (values, stamp) => wire.send("Steer", { values, stamp }),
});
const stage = new Stage($("picture"), {
  add(handle, target, isGesture) {
    page.held = null;
    wire.send("AddPoint", { handle, target });
    if (isGesture) settle();
  },
  move(index, end, to, isGesture) {
    page.held = null;
    wire.send("MovePoint", { index, end, to });
    if (isGesture) settle();
  },
  drop: (index) => wire.send("RemovePoint", { index }),
  mask: (bits) => wire.send("SetMask", { bits }),
  hold(handle, target, index) {
    if (!page.live || page.state?.running) return;
    const first = page.held === null;
    page.held = { handle, target, index, sent: false };
    if (first) requestAnimationFrame(hold);
  },
  release() {
    page.held = null;
    wire.send("Release");
  },
  say: (text) => ($("cursor-text").textContent = text),
});

// At most one message a frame of the screen says where the held point is.
function hold() {
  if (page.held === null) return;
  const { handle, target, index, sent } = page.held;
  if (!sent) wire.send("Hold", { handle, target, index });
  page.held.sent = true;
  requestAnimationFrame(hold);
}

// A point that was held live is dragged in earnest when it is let go.
function settle() {
  if (page.live && !page.state?.running) wire.send("Run");
}

// ------------------------------------------------------------------------------ what is shown

function show(state) {
  const before = page.state;
  page.state = state;
  if (state.model === null) {
    $("empty").textContent = state.busy ? `${state.busy} …` : "";
    if (!state.busy && page.first) open(page.first);
    page.wanted = null;
    return;
  }
  if (page.wanted && !state.busy) {
    history.replaceState(null, "", "/");
    if (page.wanted !== state.model) open(page.wanted);
    page.wanted = null;
  }
  const key = `${state.edit} ${page.session}`;
  if (key !== page.key) {
    page.key = key;
    stage.before?.close();
    stage.before = null;
    const last = state.mix_seed === null ? state.layers - 1 : state.mix_layers[1];
    for (const [id, value] of [
      ["model", state.model], ["seed", state.seed], ["psi", state.psi], ["class", state.class_index ?? 0],
      ["mix-seed", state.mix_seed ?? ""], ["mix-first", state.mix_layers[0]], ["mix-last", last],
    ]) {
      $(id).value = value;
    }
    $("psi-value").value = state.psi.toFixed(2);
    $("class-label").hidden = !state.classes;
    stage.mask.clear();
    stage.trails = [];
  }
  stage.setSize(...state.size);
  stage.held = state.held;
  if (!state.has_mask && !stage.mask.empty && stage.gesture?.kind !== "paint" && before?.has_mask) stage.mask.clear();
  stage.setPoints(state.points, state.targets);
  if (state.step === 0 && before?.step !== 0) stage.forgetTrails();
  $("picture").dataset.status = state.running ? "running" : state.status;
  showPoints(state);
  const under_way = state.running || Boolean(state.busy);
  $("run").textContent = under_way ? "Stop" : "Start";
  $("run").disabled = !under_way && state.points.length === 0;
  $("undo").disabled = !state.can_undo;
  $("redo").disabled = !state.can_redo;
  $("save-edit").setAttribute("aria-disabled", String(!state.can_save));
  for (const id of ["save-video", "save-gif"]) $(id).setAttribute("aria-disabled", String(!state.has_drag));
  $("save-picture").setAttribute("aria-disabled", "false");
  $("save-photograph").hidden = !state.has_photo;
  showPhotograph(state.photo);
  $("text-box").hidden = !state.texts;
  $("directions-box").hidden = !Object.keys(state.directions).length;
  directions.show(state.directions, state.steered);
  if (document.activeElement !== $("timeline") || state.running) {
    $("timeline").max = state.places;
    $("timeline").value = state.place;
  }
  $("timeline").disabled = state.places === 0;
  $("preset").value = state.preset;
  form.show(state.settings);
  $("logs").checked = state.logs;
  $("mask-text").textContent = state.has_mask
    ? "Only what is bright may change."
    : "Everything may change. Paint with the brush to allow only a part.";
  $("clear-mask").disabled = !state.has_mask;
  $("fill").disabled = !state.has_mask || Boolean(state.busy);
  showStatus(state);
}

function showStatus(state) {
  const parts = [];
  if (state.busy) parts.push(`${state.busy} …`);
  else if (state.running) {
    parts.push(`step ${state.step} of ${state.last_step}`, state.text);
    if (state.step_ms) parts.push(`${(1000 / state.step_ms).toPrecision(2)} steps/s on ${page.device}`);
  } else if (state.status && state.status !== "moving") {
    parts.push(state.text, `step ${state.step}`);
    if (state.doubtful && state.status !== "lost") parts.push("a point may be lost");
  } else if (state.step) parts.push(`stopped at step ${state.step}`);
  else parts.push(state.points.length ? "press Space to start" : `${state.size[1]}×${state.size[0]} px on ${page.device}`);
  const status = $("status");
  const text = parts.filter(Boolean).join(" · ");
  if (status.textContent !== text) status.textContent = text;
  const ended = !state.running && !["", "moving", "arrived"].includes(state.status);
  status.className = ended || (state.doubtful && !state.running) ? "warn" : state.status === "arrived" ? "arrived" : "";
}

function showPoints(state) {
  const list = $("points");
  $("no-points").hidden = state.points.length > 0;
  $("clear-points").disabled = state.points.length === 0;
  while (list.children.length > state.points.length) list.lastChild.remove();
  state.points.forEach((point, index) => {
    const row = list.children[index] ?? list.appendChild(pointRow(index));
    const numbers = [...point, ...state.targets[index]];
    row.querySelectorAll("input").forEach((input, i) => {
      if (input !== document.activeElement) input.value = Math.round(numbers[i] * 100) / 100;
    });
  });
}

function showPhotograph(photo) {
  $("photo-box").hidden = !photo;
  if (!photo) return;
  $("stages").tBodies[0].replaceChildren(...photo.stages.map((facts) => {
    const row = document.createElement("tr");
    for (const cell of [facts.stage, facts.psnr_db.toFixed(1), facts.deviations.toFixed(2), facts.seconds.toFixed(1)]) {
      row.insertCell().textContent = cell;
    }
    return row;
  }));
  $("photo-notes").replaceChildren(...photo.notes.map((text) => {
    const line = document.createElement("li");
    line.textContent = text;
    return line;
  }));
}

function pointRow(index) {
  const row = document.createElement("li");
  for (const [end, name] of [["handle", "Handle"], ["target", "Target"]]) {
    const dot = row.appendChild(document.createElement("span"));
    dot.className = `dot ${end}`;
    for (const axis of [0, 1]) {
      const input = row.appendChild(document.createElement("input"));
      Object.assign(input, { type: "number", step: "any", min: 0 });
      input.setAttribute("aria-label", `${name} ${index + 1}, ${"xy"[axis]}`);
      input.addEventListener("change", () => {
        const inputs = [...row.querySelectorAll("input")].map((one) => Number(one.value));
        const to = end === "handle" ? inputs.slice(0, 2) : inputs.slice(2);
        wire.send("MovePoint", { index, end, to: stage.view.clamped(to) });
      });
    }
  }
  const remove = row.appendChild(document.createElement("button"));
  Object.assign(remove, { type: "button", textContent: "×", title: "Remove (Delete)" });
  remove.setAttribute("aria-label", `Remove point ${index + 1}`);
  remove.addEventListener("click", () => wire.send("RemovePoint", { index }));
  return row;
}

function note(text) {
  const line = $("notes").appendChild(document.createElement("p"));
  line.textContent = text;
  setTimeout(() => line.remove(), NOTE_MS);
}

// ----------------------------------------------------------------------------- what is asked

function open(model = $("model").value) {
  const number = (id) => Number($(id).value) || 0;
  const same = model === page.state?.model, mixes = same && $("mix-seed").value !== "";
  wire.send("Open", {
    model, seed: Math.floor(number("seed")), psi: number("psi"), class_index: same && page.state.classes ? number("class") : null,
    mix_seed: mixes ? Math.floor(number("mix-seed")) : null,
    mix_layers: [Math.floor(number("mix-first")), Math.floor(number("mix-last"))],
  });
}

// Send a file, and say what is wrong with it if something is.
async function upload(path, file) {
  if (!file) return;
  $("status").textContent = "sending …";
  const answer = await fetch(`/sessions/${page.session}/${path}`, { method: "POST", body: file }).catch(() => null);
  if (!answer) note("the file could not be sent");
  else if (!answer.ok) note(await answer.json().then(({ error }) => error, () => "the file was refused"));
}

function sendPhotograph(file) {
  const how = new URLSearchParams({
    crop: $("photo-align").value ? "" : $("photo-crop").value, stages: $("photo-stages").value, box: $("photo-box-text").value,
    rotate: $("photo-rotate").value, align: $("photo-align").value, align_to: $("photo-align-to").value,
  });
  upload(`photo?${how}`, file);
}

function showGallery(first) {
  page.gallery = Math.max(0, first);
  $("gallery-range").textContent = `seeds ${page.gallery} to ${page.gallery + GALLERY - 1} of ${$("model").value}`;
  $("gallery-less").disabled = page.gallery === 0;
  const seeds = Array.from({ length: GALLERY }, (_, i) => page.gallery + i);
  $("gallery-pictures").replaceChildren(...seeds.map((seed) => {
    const button = document.createElement("button"), image = document.createElement("img"), text = document.createElement("span");
    button.type = "button";
    image.alt = "";
    image.loading = "lazy";
    image.src = `/seed.jpg?${new URLSearchParams({ model: $("model").value, seed, psi: $("psi").value })}`;
    text.textContent = `seed ${seed}`;
    button.append(image, text);
    button.addEventListener("click", () => {
      $("gallery").close();
      $("seed").value = seed;
      open();
    });
    return button;
  }));
  if (!$("gallery").open) $("gallery").showModal();
}

function setLive(on) {
  page.live = on;
  $("live").setAttribute("aria-pressed", String(on));
}

function setTool(tool) {
  stage.tool = tool;
  for (const name of ["drag", "brush", "eraser"]) $(`tool-${name}`).setAttribute("aria-pressed", String(name === tool));
  stage.canvas.style.cursor = tool === "drag" ? "crosshair" : "none";
  stage.draw();
}

function setBrush(size) {
  stage.brush = Math.max(1, Math.min(Number($("brush-size").max), Math.round(size)));
  $("brush-size").value = stage.brush;
  $("brush-value").value = `${stage.brush} px`;
  stage.draw();
}

async function compare(on) {
  if (on && !stage.before && page.state?.model) {
    const answer = await fetch(`/sessions/${page.session}/saved/before.png`);
    if (answer.ok) stage.before = await createImageBitmap(await answer.blob());
  }
  stage.comparing = on && Boolean(stage.before);
  $("compare").setAttribute("aria-pressed", String(on));
  stage.draw();
}

const toggle = () => wire.send(page.state?.running || page.state?.busy ? "Stop" : "Run");
const KEYS = {
  " ": toggle, d: () => setTool("drag"), b: () => setTool("brush"), e: () => setTool("eraser"),
  "[": () => setBrush(stage.brush / 1.25 - 0.5), "]": () => setBrush(stage.brush * 1.25 + 0.5),
  f: () => wire.send("Fill"), g: () => showGallery(page.gallery), l: () => setLive(!page.live), r: () => $("random").click(), 0: () => $("fit").click(), c: () => compare(true),
};

addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  const typing = event.target.matches("input[type=number], input[type=text], select, textarea");
  if ((event.ctrlKey || event.metaKey) && !typing) {
    const key = event.key.toLowerCase();
    if (key === "z" || key === "y") {
      event.preventDefault();
      wire.send(key === "y" || event.shiftKey ? "Redo" : "Undo");
    }
    return;
  }
  const pressed = event.target.matches("button, a, summary") && [" ", "Enter"].includes(event.key);
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || typing || pressed || event.altKey || (event.repeat && event.key === " ")) return;
  event.preventDefault();
  action();
});
addEventListener("keyup", (event) => event.key.toLowerCase() === "c" && compare(false));
addEventListener("blur", () => compare(false));

$("model").addEventListener("change", () => open());
$("seed").addEventListener("change", () => open());
$("class").addEventListener("change", () => open());
for (const id of ["mix-seed", "mix-first", "mix-last"]) {
  $(id).addEventListener("change", () => (id === "mix-seed" || $("mix-seed").value !== "") && open());
}
$("psi").addEventListener("input", () => ($("psi-value").value = Number($("psi").value).toFixed(2)));
$("psi").addEventListener("change", () => open());
$("random").addEventListener("click", () => {
  $("seed").value = Math.floor(Math.random() * 100000);
  open();
});
$("run").addEventListener("click", toggle);
$("undo").addEventListener("click", () => wire.send("Undo"));
$("redo").addEventListener("click", () => wire.send("Redo"));
$("timeline").addEventListener("input", () => wire.send("Go", { place: Number($("timeline").value) }));
$("clear-points").addEventListener("click", () => wire.send("RemovePoint", { index: null }));
$("clear-mask").addEventListener("click", () => {
  stage.mask.clear();
  wire.send("SetMask", { bits: null });
});
$("fill").addEventListener("click", () => wire.send("Fill"));
$("describe").addEventListener("submit", (event) => {
  event.preventDefault();
  wire.send("Describe", { text: $("text").value });
});
$("zero-directions").addEventListener("click", () => directions.zero());
$("preset").append(...described.presets.map((name) => new Option(name, name)));
$("logs").addEventListener("change", () => wire.send("Log", { wandb: $("logs").checked }));
$("preset").addEventListener("change", () => wire.send("Choose", { preset: $("preset").value }));
$("brush-size").addEventListener("input", () => setBrush(Number($("brush-size").value)));
for (const tool of ["drag", "brush", "eraser"]) $(`tool-${tool}`).addEventListener("click", () => setTool(tool));
$("fit").addEventListener("click", () => {
  stage.view.fit();
  stage.draw();
});
$("compare").addEventListener("pointerdown", () => compare(true));
for (const name of ["pointerup", "pointerleave", "pointercancel"]) $("compare").addEventListener(name, () => compare(false));

$("live").addEventListener("click", () => setLive(!page.live));
$("gallery-open").addEventListener("click", () => showGallery(Math.floor(Number($("seed").value) / GALLERY) * GALLERY));
$("gallery-less").addEventListener("click", () => showGallery(page.gallery - GALLERY));
$("gallery-more").addEventListener("click", () => showGallery(page.gallery + GALLERY));
$("gallery-close").addEventListener("click", () => $("gallery").close());
$("photo-open").addEventListener("click", () => $("photo").showModal());
$("photo-cancel").addEventListener("click", () => $("photo").close());
$("photo-choose").addEventListener("click", () => {
  $("photo").close();
  $("photo-file").click();
});
$("edit-open").addEventListener("click", () => $("edit-file").click());
for (const [id, send] of [["photo-file", sendPhotograph], ["edit-file", (file) => upload("edit", file)]]) {
  $(id).addEventListener("change", () => {
    send($(id).files[0]);
    $(id).value = "";
  });
}
$("files").addEventListener("click", (event) => event.target.closest("a, button") && ($("files").open = false));
$("files").addEventListener("focusout", (event) => !$("files").contains(event.relatedTarget) && ($("files").open = false));
for (const name of ["dragover", "dragleave", "drop"]) {
  $("stage").addEventListener(name, (event) => {
    event.preventDefault();
    $("stage").classList.toggle("dropping", name === "dragover");
    const file = name === "drop" ? event.dataTransfer.files[0] : null;
    if (file) (/\.(safetensors|zip)$/.test(file.name) ? (f) => upload("edit", f) : sendPhotograph)(file);
  });
}

wire.open();

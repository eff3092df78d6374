// The page: images in, classes out. What it shows of strangers is text, never markup.

import { Drawing } from "./drawing.js";
import { Plane } from "./plane.js";
import { Refused, Server } from "./server.js";

const NEIGHBORS = 5;
const LISTED = 500; // names of a lasso that are shown
const SMALL = 96; // pixels; smaller images are shown with their pixels
const HEAD = 1024; // bytes of a request beside each image, at most

const $ = (id) => document.getElementById(id);
const element = (kind, properties = {}, ...inside) => {
  const made = Object.assign(document.createElement(kind), properties);
  made.append(...inside);
  return made;
};
const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

const server = new Server(askForToken);
const state = {
  model: null,
  tray: [], // {blob, name, url, answer, hits}
  shown: null, // of the tray, or the drawing
  plane: null,
  own: [], // classes that were enrolled
  items: 0, // of the gallery
  last: null, // number of the change that "Undo" takes back
  turn: 0, // of what was asked last: an answer that comes after a later one is not shown
};

// ------------------------------------------------------------------ messages

let hiding;
function say(text, act = null) {
  $("message-text").textContent = text;
  $("message-act").hidden = !act;
  if (act) [$("message-act").textContent, $("message-act").onclick] = act;
  $("message").hidden = false;
  clearTimeout(hiding);
  // What can be acted on stays until it is closed: nobody need be quick.
  if (!act) hiding = setTimeout(() => ($("message").hidden = true), 8000);
}
$("message-close").onclick = () => ($("message").hidden = true);

/** Runs what may be refused, and says why. */
async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    say(error.message);
    return undefined;
  }
}

function askForToken(wrong) {
  const dialog = $("token-dialog");
  if (wrong) $("token-note").textContent = "The token was not right. Try again.";
  dialog.returnValue = $("token").value = "";
  dialog.showModal();
  return new Promise((resolve, reject) => {
    dialog.onclose = () =>
      dialog.returnValue === "given"
        ? resolve($("token").value)
        : reject(new Refused("This server asks for its token. Load the page again to give it."));
  });
}

// ------------------------------------------------------------------ images

async function take(files) {
  const images = [...files].filter((file) => file.size);
  if (!images.length) return;
  if (!state.model) return say("The server has not said yet what it knows: try again in a moment.");
  const { max_images: most } = state.model.limits;
  if (images.length > most) say(`The first ${most} of ${images.length} images are taken.`);
  const turn = ++state.turn;
  const entries = [];
  for (const file of images.slice(0, most)) {
    const blob = await fitting(file);
    entries.push({ blob, name: file.name || "image", url: URL.createObjectURL(blob) });
  }
  await predict(entries);
  const good = entries.filter((entry) => entry.answer && !entry.answer.error);
  if (!good.length) return;
  state.tray = [...good, ...state.tray].slice(0, most);
  if (turn === state.turn) show(good[0]);
  else showTray();
}

/** An image, scaled down so far that a whole tray fits into one request, if the browser can. */
async function fitting(blob) {
  const { limits, size } = state.model;
  const share = Math.floor(limits.max_bytes / limits.max_images) - HEAD;
  if (blob.size <= share) return blob;
  const picture = await createImageBitmap(blob).catch(() => null);
  if (!picture) return blob; // the server knows more formats
  const canvas = element("canvas");
  const longest = Math.max(picture.width, picture.height);
  for (let side = Math.min(longest, 2048); side >= 2 * size; side *= 0.7) {
    canvas.width = Math.max(1, Math.round((picture.width * side) / longest));
    canvas.height = Math.max(1, Math.round((picture.height * side) / longest));
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    const scaled = await new Promise((resolve) => canvas.toBlob(resolve, "image/webp", 0.92));
    if (scaled && scaled.size <= share) return scaled;
  }
  return blob;
}

const bytes = (entries) => entries.reduce((sum, { blob }) => sum + blob.size + HEAD, 0);

/** Images in parts that the server takes at once. */
function parts(entries) {
  const found = [];
  for (const entry of entries) {
    const last = found.at(-1);
    if (last && bytes([...last, entry]) <= state.model.limits.max_bytes) last.push(entry);
    else found.push([entry]);
  }
  return found;
}

/** Throws where images are too large for one request: the server would not listen to the end. */
function check(entries) {
  const [all, most] = [bytes(entries), state.model.limits.max_bytes];
  const shown = (size) => `${(size / 2 ** 20).toFixed(1)} MB`;
  if (all > most) throw new Refused(`${count(entries.length, "image")} of ${shown(all)}: the server takes ${shown(most)} at once.`);
}

/** Asks for the classes of images, and for the nearest images of the gallery. */
async function predict(entries) {
  for (const part of parts(entries)) await attempt(() => ask(part));
}

async function ask(entries) {
  check(entries);
  const k = Math.min(5, state.model.most);
  const { results } = await server.post(`v1/predict?k=${k}&embeddings=${state.items > 0}`, entries);
  results.forEach((answer, i) => (entries[i].answer = answer));
  const bad = results.find((answer) => answer.error);
  if (bad) say(bad.error.message);
  const good = entries.filter((entry) => entry.answer.embedding);
  for (const entry of entries) entry.hits = [];
  if (!good.length) return;
  const embeddings = good.map((entry) => entry.answer.embedding);
  const found = await server.send("v1/search/embeddings", { embeddings, k: NEIGHBORS });
  found.results.forEach((one, i) => (good[i].hits = one.hits));
}

function show(entry) {
  state.shown = entry;
  const image = $("shown");
  const kept = state.tray.includes(entry);
  image.hidden = !kept;
  $("invitation").hidden = kept;
  if (kept) {
    image.onload = () => image.classList.toggle("small", Math.max(image.naturalWidth, image.naturalHeight) <= SMALL);
    image.src = entry.url;
    image.alt = entry.name;
  }
  showTray();
  showAnswers(entry?.answer);
  showNeighbors(entry?.hits ?? []);
}

function showTray() {
  $("tray").hidden = !state.tray.length;
  $("tray").replaceChildren(
    ...state.tray.map((entry) => {
      const picture = element("img", { src: entry.url, alt: "" });
      picture.onload = () => picture.classList.toggle("small", picture.naturalWidth <= SMALL);
      const button = element("button", { className: "picture", title: entry.name, onclick: () => show(entry) }, picture);
      button.setAttribute("aria-pressed", String(entry === state.shown));
      button.setAttribute("aria-label", entry.name);
      const remove = element("button", { className: "remove", textContent: "×", onclick: () => drop(entry) });
      remove.setAttribute("aria-label", `Remove ${entry.name}`);
      return element("li", {}, button, remove);
    }),
  );
  showEnrolment();
}

function drop(entry) {
  state.tray = state.tray.filter((other) => other !== entry);
  URL.revokeObjectURL(entry.url);
  if (state.shown === entry) show(state.tray[0] ?? null);
  else showTray();
}

function showAnswers(answer) {
  const verdict = $("verdict");
  const answers = answer?.answers ?? [];
  // Where the list shows it, it is there for those who hear the page.
  verdict.classList.toggle("unseen", answers.length > 0 && !answer.unknown);
  verdict.classList.toggle("unknown", Boolean(answer?.unknown));
  verdict.textContent = !answers.length
    ? "Give an image to see its classes."
    : answer.unknown
      ? "Unknown: none of the classes is near enough."
      : `Nearest: ${answers[0].name}, ${answers[0].cosine.toFixed(2)}`;
  $("answers").replaceChildren(
    ...answers.map((found) => {
      const bar = element("span");
      bar.style.width = `${Math.max(0, found.cosine) * 100}%`;
      const name = element("span", { className: "name", title: found.name }, element("bdi", { textContent: found.name }));
      const row = element("li", { className: isOwn(found) ? "own" : "" }, name, element("span", { className: "track" }, bar));
      if (isOwn(found)) name.append(element("span", { className: "chip", textContent: "yours" }));
      row.append(element("output", { textContent: found.cosine.toFixed(3), title: "cosine" }));
      return row;
    }),
  );
  showPlace(answer);
}

function isOwn(found) {
  return found.label >= state.model.num_classes;
}

function showNeighbors(hits) {
  $("neighbors-part").hidden = !hits.length;
  $("neighbors").replaceChildren(
    ...hits.map((hit) => {
      const name = hit.label ?? hit.path ?? `item ${hit.id}`;
      const row = element("li", { title: [hit.label, hit.path].filter(Boolean).join(", ") });
      row.append(thumbnail(hit.id), element("bdi", { textContent: name }), element("small", { textContent: hit.cosine.toFixed(3) }));
      return row;
    }),
  );
}

const thumbnails = new Map();
/** A picture of an item, which appears when it is there. */
function thumbnail(id) {
  const picture = element("img", { alt: "", width: 54, height: 54 });
  if (!thumbnails.has(id)) {
    const asked = server.picture(`v1/gallery/items/${id}/thumbnail`);
    asked.catch(() => thumbnails.delete(id));
    thumbnails.set(id, asked);
  }
  thumbnails.get(id).then(
    (address) => (picture.src = address),
    () => (picture.hidden = true),
  );
  return picture;
}

// ------------------------------------------------------------------ the plane

async function openPlane() {
  const info = state.model.has_map ? await attempt(() => server.get("v1/map")) : undefined;
  if (!info) return closePlane("This model does not hold its prototypes: there is no picture of them.");
  const plane = new Plane($("plane"), { names: (indices) => namesOf(indices, info.step), chosen: showPicked });
  if (!plane.works) return closePlane("This browser has no WebGL: there is no picture of the prototypes.");
  const places = await attempt(() => server.floats("v1/map/points"));
  if (!places) return closePlane("");
  plane.set(places);
  state.plane = plane;
  state.step = info.step;
  const share = info.share.map((part) => `${(100 * part).toFixed(1)} %`);
  const some = info.step > 1 ? `every ${info.step}th of ${count(state.model.num_classes, "prototype")}` : count(info.num_points, "prototype");
  $("plane-note").textContent = `${some} along their two main directions, which hold ${share.join(" and ")} of their variance: near here need not be near in ${state.model.dim} dimensions. Zoom in for names.`;
}

function closePlane(why) {
  $("plane").hidden = document.querySelector(".tools").hidden = true;
  $("plane-note").textContent = why;
}

async function namesOf(indices, step) {
  const names = [];
  for (let start = 0; start < indices.length; start += 500) {
    const query = indices.slice(start, start + 500).map((i) => `label=${i * step}`);
    const { classes } = await server.get(`v1/classes?limit=1&${query.join("&")}`);
    names.push(...classes.map((one) => one.name));
  }
  return names;
}

function showPlace(answer) {
  if (!state.plane) return;
  if (!answer?.position) return state.plane.show(null);
  const labels = answer.answers.map((found) => found.label);
  const near = labels.filter((label) => label >= 0 && label < state.model.num_classes && label % state.step === 0).map((label) => label / state.step);
  const places = new Map(state.own.map((one) => [one.label, one.position]));
  const others = labels.map((label) => places.get(label)).filter(Boolean);
  state.plane.show({ place: answer.position, near, others });
}

async function showPicked(indices) {
  $("picked-part").hidden = !indices.length;
  if (!indices.length) return;
  $("picked-title").textContent = `${count(indices.length, "prototype")} selected`;
  const names = await attempt(() => namesOf(indices.slice(0, LISTED), state.step));
  if (!names || state.plane.chosen !== indices) return;
  const rest = indices.length - names.length;
  $("picked").replaceChildren(...names.map((name) => element("li", { title: name }, element("bdi", { textContent: name }))));
  if (rest > 0) $("picked").append(element("li", { textContent: `and ${rest.toLocaleString("en")} more` }));
  $("copy").onclick = () =>
    attempt(async () => {
      try {
        await navigator.clipboard.writeText((await namesOf(indices, state.step)).join("\n"));
      } catch (error) {
        throw error instanceof Refused ? error : new Refused("The browser does not allow copying here.");
      }
      say(`${count(indices.length, "name")} copied.`);
    });
}

$("lasso").onclick = () => {
  const on = $("lasso").getAttribute("aria-pressed") !== "true";
  $("lasso").setAttribute("aria-pressed", String(on));
  $("plane").classList.toggle("lassoing", on);
  if (state.plane) state.plane.lassoing = on;
};
$("zoom-in").onclick = () => state.plane?.zoomBy(1.6);
$("zoom-out").onclick = () => state.plane?.zoomBy(1 / 1.6);
$("home").onclick = () => state.plane?.home();
$("unpick").onclick = () => state.plane?.choose([]);

// ------------------------------------------------------------------ ways to give an image

$("choose").onclick = () => $("chooser").click();
$("photograph").onclick = () => $("camera").click();
for (const id of ["chooser", "camera"])
  $(id).onchange = async (event) => {
    await take(event.target.files);
    event.target.value = "";
  };

addEventListener("paste", (event) => {
  if (!event.clipboardData.files.length) return;
  event.preventDefault();
  openTab("files");
  take(event.clipboardData.files);
});
for (const kind of ["dragover", "dragleave", "drop"])
  addEventListener(kind, (event) => {
    if (kind !== "dragleave") event.preventDefault();
    $("stage").classList.toggle("over", kind === "dragover");
    if (kind !== "drop") return;
    openTab("files");
    take(event.dataTransfer.files);
  });

function openTab(id) {
  for (const tab of document.querySelectorAll('[role="tab"]')) {
    const on = tab.getAttribute("aria-controls") === id;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
    $(tab.getAttribute("aria-controls")).hidden = !on;
  }
}
document.querySelector('[role="tablist"]').addEventListener("keydown", (event) => {
  if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
  const other = document.querySelector('[role="tab"][aria-selected="false"]');
  openTab(other.getAttribute("aria-controls"));
  other.focus();
});
for (const tab of document.querySelectorAll('[role="tab"]')) tab.onclick = () => openTab(tab.getAttribute("aria-controls"));

function openDrawing() {
  let waiting;
  const drawing = new Drawing($("canvas"), {
    dark: state.model.brightness < 0.5,
    changed: () => {
      for (const id of ["keep", "stroke-back", "wipe"]) $(id).disabled = drawing.empty;
      clearTimeout(waiting);
      if (drawing.empty) show(null);
      else waiting = setTimeout(read, 120);
    },
  });
  const picture = async () => {
    const blob = await drawing.picture();
    return { blob, name: "drawing.png", url: URL.createObjectURL(blob) };
  };
  const read = async () => {
    const turn = ++state.turn;
    const entry = await picture();
    URL.revokeObjectURL(entry.url);
    await predict([entry]);
    if (entry.answer && !drawing.empty && turn === state.turn) show(entry);
  };
  $("stroke-back").onclick = () => drawing.undo();
  $("wipe").onclick = () => drawing.clear();
  $("keep").onclick = async () => {
    state.turn++;
    const entry = await picture();
    await predict([entry]);
    if (!entry.answer) return;
    state.tray = [entry, ...state.tray].slice(0, state.model.limits.max_images);
    drawing.clear();
    show(entry);
  };
}

// ------------------------------------------------------------------ the user's own classes

async function showOwn() {
  const [gallery, enrolled, history] = await Promise.all(["gallery", "enrolled", "history"].map((path) => server.get(`v1/${path}`)));
  state.items = gallery.num_items;
  state.own = enrolled.classes;
  $("own").replaceChildren(
    ...enrolled.classes.map((one) => {
      const row = element("li", {}, element("bdi", { textContent: one.name, title: one.name }), element("small", { textContent: count(one.images, "image") }));
      if (one.sample !== null) row.prepend(thumbnail(one.sample));
      return row;
    }),
  );
  const last = history.changes.find((change) => !change.undone && change.action !== "undo");
  $("undo").hidden = !last;
  state.last = last?.number ?? null;
  $("own-note").textContent = last ? `Last: ${last.action} ${last.detail}` : "Images in the list above become a class under the name that you give.";
  state.plane?.mark(enrolled.classes.filter((one) => one.position).map((one) => ({ place: one.position, name: one.name })));
}

function showEnrolment() {
  const some = state.tray.length;
  $("enrol-count").textContent = some ? `${some === 1 ? "this image" : `these ${some} images`}` : "your images";
  $("add").disabled = !some;
}

/** Asks again for what is on the page: the classes are others now. */
async function renew() {
  await showOwn();
  if (state.tray.length) await predict(state.tray);
  if (state.shown) show(state.shown);
}

$("enrol").onsubmit = async (event) => {
  event.preventDefault();
  await enrol($("name").value.trim(), state.tray, true);
};

/** A class of some images; `review`: without those that do not seem to belong to it. */
async function enrol(name, entries, review) {
  if (!name || !entries.length) return;
  $("message").hidden = $("add").disabled = true;
  await attempt(async () => {
    let done;
    check(entries);
    try {
      done = await server.post("v1/enrolled", entries, { name, review });
    } catch (error) {
      if (!(error instanceof Refused) || error.code !== "images_refused") throw error;
      // What was refused, whatever name and images are on the page by then.
      return say(error.message, ["Add anyway", () => enrol(name, entries, false)]);
    }
    await renew();
    if ($("name").value.trim() === name) $("name").value = "";
    const refused = done.rejected.length ? ` Not taken: ${done.rejected.map((one) => one.message).join("; ")}.` : "";
    say(`${done.name}: ${count(done.ids.length, "image")} added.${refused}`, ["Undo", () => undo(done.change)]);
  });
  showEnrolment();
}

/** Takes the change back that the user has seen, and no other one. */
async function undo(number) {
  $("message").hidden = true;
  await attempt(async () => {
    let change;
    try {
      change = await server.send("v1/undo", { number });
    } finally {
      await renew();
    }
    say(`Undone: ${change.action} ${change.detail}.`);
  });
}
$("undo").onclick = () => undo(state.last);

// ------------------------------------------------------------------ the beginning

await attempt(async () => {
  const model = (state.model = await server.get("v1/model"));
  document.title = `${model.name} · rootspace`;
  $("title").textContent = model.name;
  $("facts").textContent = `${count(model.num_classes, "class", "classes")}, ${count(model.dim, "dimension")}`;
  openDrawing();
  await openPlane();
  if (model.has_gallery) {
    $("classes-part").hidden = false;
    await showOwn();
    showEnrolment();
  }
  document.body.dataset.ready = "true";
});

// What pages do beside links and forms, all of which work without it: parts that are live,
// times that go on, keys, dialogs.
"use strict";

const page = document.documentElement;
const words = JSON.parse(document.getElementById("words").textContent);

// --- times go on

const units = [[86400, "day", "days"], [3600, "h", "h"], [60, "min", "min"], [1, "s", "s"]];

function relative(seconds) {
  const distance = Math.abs(seconds);
  if (distance < 1) return words.now;
  for (const [length, one, many] of units) {
    const n = Math.floor(distance / length);
    if (n === 0) continue;
    const text = `${n} ${words[n === 1 ? one : many]}`;
    return (seconds < 0 ? words.ago : words.in).replace("{time}", text);
  }
}

function tick() {
  if (document.hidden) return;
  const now = Date.now();
  for (const time of document.querySelectorAll("time.ago")) {
    const text = relative((Date.parse(time.dateTime) - now) / 1000);
    if (time.textContent !== text) time.textContent = text;
  }
}
setInterval(tick, 1000);

// --- live parts

// reveal shows what is of use only with this script.
function reveal(element) {
  for (const needy of element.querySelectorAll(".needs-script")) needy.hidden = false;
}

// A message holds HTML by the id of the element that it is the content of. What a person
// is in stays as it is until it is left; no control is ever replaced under the mouse, and
// what moves waits until the mouse is elsewhere (data-still).
const held = new Map();

// bare is HTML without the words of times, which go on by themselves.
const bare = (html) => html.replace(/(<time [^>]*>)[^<]*/g, "$1");

function isBusy(element) {
  const active = document.activeElement;
  return element !== active && element.contains(active) || element.querySelector("dialog[open], video:hover") !== null || element.matches("[data-still]:hover");
}

function put(id, html) {
  const element = document.getElementById(id);
  if (element === null) return;
  if (isBusy(element)) {
    held.set(id, html);
    return;
  }
  held.delete(id);
  if (element.dataset.list !== undefined) putList(element, html);
  else if (differs(element, html)) element.innerHTML = html;
  reveal(element);
  page.dispatchEvent(new CustomEvent("live:put", { detail: element }));
}

// differs compares what an element holds with what the server sends, which writes the same
// in other ways than browsers do.
function differs(element, html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  reveal(template.content);
  return bare(template.innerHTML) !== bare(element.innerHTML);
}

// putList brings the children of a list up to date by their ids, so that what is unfolded
// stays so.
function putList(list, html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  let place = list.firstElementChild;
  for (const fresh of [...template.content.children]) {
    const old = fresh.id && document.getElementById(fresh.id);
    if (!old || old.parentElement !== list) {
      list.insertBefore(fresh, place);
      continue;
    }
    if (old === place) place = place.nextElementSibling;
    else list.insertBefore(old, place);
    if (differs(old, fresh.innerHTML) && !isBusy(old)) {
      const open = [...old.querySelectorAll("details")].map((d) => d.open);
      old.className = fresh.className;
      old.innerHTML = fresh.innerHTML;
      old.querySelectorAll("details").forEach((d, i) => { d.open = open[i] ?? false; });
    }
  }
  while (place) {
    const next = place.nextElementSibling;
    if (!isBusy(place)) place.remove();
    place = next;
  }
}

for (const left of ["focusout", "mouseout"]) {
  document.addEventListener(left, () => setTimeout(() => { for (const [id, html] of [...held]) put(id, html); }));
}

const live = document.getElementById("live");
let source = null, last = live?.dataset.after ?? "", wait = 1000, again = 0;

// A browser opens six connections to a host, and a stream keeps one: no more than three
// windows are live at a time, and others wait for their turn.
const maxLive = 3;
let waiting = null, giveBack = null;

// takeTurn resolves with what gives the turn back, once there is one.
async function takeTurn(signal) {
  if (!navigator.locks) return () => {}; // without TLS, away from this machine
  const hold = (n, options) => new Promise((resolve, reject) => {
    navigator.locks.request(`klingwatch-live-${n}`, options, (lock) => {
      if (!lock) return resolve(null);
      return new Promise((release) => resolve(release));
    }).catch(reject);
  });
  for (let n = 0; n < maxLive; n++) {
    const turn = await hold(n, { ifAvailable: true });
    if (turn) return turn;
  }
  show("waits");
  return hold(Math.floor(Math.random() * maxLive), { signal });
}

async function connect() {
  clearTimeout(again);
  if (!live || source || waiting || document.hidden || page.dataset.paused !== undefined) return;
  const mine = waiting = new AbortController();
  const turn = await takeTurn(mine.signal).catch(() => null);
  if (waiting !== mine) return turn?.(); // it was hidden or paused meanwhile
  waiting = null;
  if (!turn) return;
  giveBack = turn;
  const at = new URL(live.dataset.live, location.href);
  if (last) at.searchParams.set("after", last);
  source = new EventSource(at);
  source.onopen = () => { wait = 1000; show("on"); };
  source.onmessage = (message) => {
    last = message.lastEventId;
    for (const [id, html] of Object.entries(JSON.parse(message.data))) put(id, html);
  };
  source.onerror = () => {
    show("lost");
    if (source.readyState !== EventSource.CLOSED) return; // it tries again by itself
    disconnect();
    again = setTimeout(connect, wait);
    wait = Math.min(2 * wait, 60000);
  };
}

function disconnect() {
  waiting?.abort();
  source?.close();
  giveBack?.();
  waiting = source = giveBack = null;
}

function show(state) {
  page.dataset.live = state;
  document.getElementById("live-state").textContent = words[`live_${state}`];
}

if (live) {
  const button = document.getElementById("live-pause");
  button.hidden = false;
  button.addEventListener("click", () => {
    const paused = page.toggleAttribute("data-paused");
    button.setAttribute("aria-pressed", paused);
    button.textContent = paused ? words.live_resume : words.live_pause;
    if (paused) {
      disconnect();
      show("paused");
    } else connect();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) disconnect();
    else { tick(); connect(); }
  });
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", connect);
}

// --- dialogs: a link or form with data-dialog opens what it leads to in one

const dialog = document.getElementById("dialog");

async function openDialog(address) {
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  const found = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
  if (!found) return location.assign(address);
  dialog.querySelector("div").replaceChildren(...found.childNodes);
  dialog.querySelectorAll(".needs-script").forEach((e) => { e.hidden = false; });
  dialog.dataset.at = new URL(address, location.href).pathname;
  if (!dialog.open) dialog.showModal();
}

dialog.addEventListener("close", () => dialog.querySelector("div").replaceChildren()); // what plays there ends

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-dialog]");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    openDialog(link.href);
  }
  if (event.target.closest("[data-close]")) {
    event.preventDefault();
    event.target.closest("dialog")?.close();
  }
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    const text = copy.dataset.copy || document.getElementById(copy.dataset.copyFrom)?.textContent || "";
    navigator.clipboard?.writeText(text).then(() => { copy.textContent = words.copied; });
  }
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.matches("form[data-dialog]")) {
    event.preventDefault();
    openDialog(`${form.getAttribute("action")}?${new URLSearchParams(new FormData(form, event.submitter))}`);
  }
});

// --- selection: how many are chosen

function count() {
  const chosen = document.querySelectorAll("input[name=ids]:checked").length;
  for (const label of document.querySelectorAll("[data-chosen]")) label.textContent = chosen > 0 ? words.chosen.replace("{n}", chosen) : label.dataset.chosen;
}
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-choose-all]")) {
    for (const box of document.querySelectorAll("input[name=ids]")) box.checked = event.target.checked;
  }
  count();
});

// --- keys

const rows = () => [...document.querySelectorAll("[data-row]")];

function move(step) {
  const all = rows();
  const at = all.indexOf(document.activeElement?.closest("[data-row]"));
  const next = all[Math.min(Math.max(at + step, 0), all.length - 1)];
  next?.querySelector("[data-open]")?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

const keys = {
  "/": () => document.querySelector("[data-search]")?.focus(),
  j: () => move(1),
  k: () => move(-1),
  x: () => {
    const box = document.activeElement?.closest("[data-row]")?.querySelector("input[type=checkbox]");
    if (box) { box.checked = !box.checked; count(); }
  },
  "?": () => document.getElementById("keys").showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const active = document.activeElement;
  if (active?.matches("input:not([type=checkbox]), textarea, select") || document.querySelector("dialog[open]")) {
    if (event.key === "Escape") active?.blur();
    return;
  }
  const act = keys[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});

reveal(document);
tick();
count();
connect();

// The page shows the snapshots that the demo sends, and nothing that it assumes: an act shows once it has had its effect.
import { renderBoard, initBoard } from "./cards.js";
import { renderIssue, initIssue } from "./issue.js";
import { renderTeleport, initTeleport } from "./teleport.js";
import { renderMachinery } from "./machinery.js";
import { act, actor, announce, setClock, tick, $ } from "./page.js";

let last = null; // the newest snapshot
let held = false; // while a card is dragged the board stands still
let skipped = false;

function render(snapshot) {
  const before = last;
  last = snapshot;
  setClock(snapshot.now);
  $("banner").hidden = !snapshot.touring;
  $("banner").textContent = "The tour is running: watch it, or act at any time to take over.";
  renderTeleport(snapshot, before);
  renderMachinery(snapshot);
  renderIssue(snapshot);
  if (held) skipped = true;
  else renderBoard(snapshot);
  say(before, snapshot);
  tickSteps(snapshot);
  tick();
}

function hold(on) {
  held = on;
  if (!on && skipped && last) {
    skipped = false;
    renderBoard(last);
  }
}

// say tells a screen reader what others have done to cards and requests.
function say(before, now) {
  if (!before) return;
  const cards = new Map(before.cards.map((c) => [c.key, c]));
  for (const card of now.cards) {
    const was = cards.get(card.key);
    if (was && card.putBack && !was.putBack) announce(`${card.key} was put back to ${card.status}. ${card.putBack.reason}`);
    else if (was && was.status !== card.status) announce(`${card.movedBy} moved ${card.key} to ${card.status}.`);
    else if (!was) announce(`New card ${card.key}: ${card.summary}.`);
  }
  const states = new Map(before.requests.map((r) => [r.id, r.state]));
  for (const r of now.requests) {
    if (states.has(r.id) && states.get(r.id) !== r.state) announce(`In Teleport the request of ${r.user} is ${r.state}.`);
  }
}

// What the visitor has done here, for the list of things to try.
const done = { requested: false, byBob: new Set(), byAlice: new Set(), killedAt: 0, movedSince: new Set() };

document.addEventListener("acted", ({ detail: { name, order } }) => {
  if (name === "request") done.requested = true;
  if (name === "move" && order.as === "bob") done.byBob.add(order.issue);
  if (name === "move" && order.as === "alice") done.byAlice.add(order.issue);
  if (name === "kill") done.killedAt = Date.now();
  if (name === "move" && done.killedAt) done.movedSince.add(order.issue);
  if (last) tickSteps(last);
});

function tickSteps(snapshot) {
  const settled = new Set(snapshot.requests.filter((r) => r.by.startsWith("jira:")).map((r) => r.issue));
  const some = (keys) => [...keys].some((key) => settled.has(key));
  const refused = snapshot.cards.some((c) => c.putBack?.who === "alice" && done.byAlice.has(c.key));
  const tickStep = (id, is) => is && $(id).classList.add("done");
  tickStep("step-request", done.requested);
  tickStep("step-approve", some(done.byBob));
  tickStep("step-self", refused);
  tickStep("step-kill", done.killedAt && some(done.movedSince));
}

function connect() {
  const events = new EventSource("/events");
  events.onmessage = (e) => {
    document.body.classList.remove("gone");
    render(JSON.parse(e.data));
  };
  events.onerror = () => {
    document.body.classList.add("gone");
    $("banner").hidden = false;
    $("banner").textContent = "The demo does not answer: it has ended, or is starting. This page goes on by itself once it is back at this address.";
    // A browser gives up on an answer that is no stream; then the page asks again itself.
    if (events.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  };
}

initBoard({ act, actor, hold, columns: () => last?.columns ?? [] });
initIssue(() => last);
initTeleport();
setInterval(tick, 500);
connect();

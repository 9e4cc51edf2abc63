// Jira's board: columns of cards that are moved by mouse, finger or keyboard.
import { announce, calm, el, face, flash, keyed, label, setText, shortName, tick, when, $ } from "./page.js";
import { openIssue } from "./issue.js";

let page; // what board.js gives
let lifted = null; // the card that the keyboard has picked up: { key, from, to }
let steered = false; // the key that is down has done its work: it clicks nothing

export function initBoard(given) {
  page = given;
  const board = $("board");
  board.addEventListener("pointerdown", press);
  board.addEventListener("keydown", steer);
  // A button is clicked when Space comes up, which here has another meaning.
  board.addEventListener("keyup", (e) => {
    if (e.key === " " && e.target.closest(".card")) e.preventDefault();
    steered = false;
  });
  board.addEventListener("click", (e) => {
    const card = e.target.closest(".card");
    if (card && !e.defaultPrevented && !steered) openIssue(card.dataset.key);
  });
  board.addEventListener("focusout", (e) => {
    if (lifted && e.target.closest(".card")?.dataset.key === lifted.key && document.hasFocus() && e.relatedTarget) lay(false);
  });
}

export function renderBoard(snapshot) {
  const board = $("board");
  const focused = document.activeElement?.closest?.(".card")?.dataset.key;
  const places = new Map([...board.querySelectorAll(".card")].map((n) => [n.dataset.key, { box: n.getBoundingClientRect(), column: n.dataset.column }]));
  keyed(board, snapshot.columns, (c) => c, makeColumn, () => {});
  // A card that has changed column keeps its node, and with it the focus.
  for (const card of snapshot.cards) {
    const node = board.querySelector(`.card[data-key="${card.key}"]`);
    const list = board.querySelector(`.column[data-status="${card.status}"] ul`);
    if (node && list && node.parentNode !== list) list.prepend(node);
  }
  for (const column of board.children) {
    const name = column.dataset.key;
    const cards = snapshot.cards.filter((c) => c.status === name).sort((a, b) => Date.parse(b.movedAt) - Date.parse(a.movedAt));
    const list = column.querySelector("ul");
    keyed(list, cards, (c) => c.key, makeCard, updateCard);
    setText(column.querySelector(".count"), String(cards.length));
    column.classList.toggle("empty", cards.length === 0);
  }
  tick();
  for (const node of board.querySelectorAll(".card")) {
    const was = places.get(node.dataset.key);
    if (!was || was.column !== node.dataset.column) flash(node);
    if (!calm()) animate(node, was);
  }
  if (focused && document.activeElement?.closest?.(".card")?.dataset.key !== focused) button(focused)?.focus({ preventScroll: true });
}

// animate shows how a card has come to where it is from where it was; without that it has just been made.
function animate(node, was) {
  const box = node.getBoundingClientRect();
  const how = { duration: 380, easing: "cubic-bezier(.2,.8,.2,1)" };
  if (!was) node.animate([{ opacity: 0, transform: "scale(.95)" }, { opacity: 1, transform: "none" }], how);
  else if (was.column === node.dataset.column) {
    const dx = was.box.left - box.left, dy = was.box.top - box.top;
    if (dx || dy) node.animate([{ transform: `translate(${dx}px, ${dy}px)` }, { transform: "none" }], how);
  } else {
    // A column clips what is in it, so a likeness flies over the page.
    const ghost = likeness(node, box.width);
    node.classList.add("landing");
    const at = ({ left, top }) => ({ transform: `translate(${left}px, ${top}px)` });
    ghost.animate([at(was.box), at(box)], { ...how, fill: "forwards" }).finished.finally(() => {
      ghost.remove();
      node.classList.remove("landing");
    });
  }
}

// likeness is a picture of a card that is no part of the board.
function likeness(card, width) {
  const ghost = card.cloneNode(true);
  ghost.className = "card ghost";
  ghost.removeAttribute("data-key");
  ghost.inert = true;
  ghost.style.width = width + "px";
  document.body.append(ghost);
  return ghost;
}

const button = (key) => document.querySelector(`.card[data-key="${key}"] .open`);

function makeColumn(name) {
  const id = "column-" + name.replace(" ", "-");
  return el("section", { className: "column", "data-status": name, "aria-labelledby": id },
    el("h3", { id }, el("span", { className: "dot" }), name, el("span", { className: "count" }, "0")),
    el("ul", {}));
}

function makeCard() {
  const open = el("button", { className: "open", type: "button", "aria-describedby": "card-help" },
    el("span", { className: "who" }), el("span", { className: "roles" }), el("span", { className: "reason" }));
  const grip = el("span", { className: "grip", "aria-hidden": "true", title: "Drag" }, "⠿");
  return el("li", { className: "card" }, open, grip, el("p", { className: "moved" }), el("p", { className: "refused", hidden: true }));
}

// summarised splits "alice@example.com requested db-admin", which is what the agent writes.
function summarised(summary) {
  const [user, roles] = summary.split(" requested ");
  return roles ? { user, roles } : { user: "", roles: summary };
}

function updateCard(node, card) {
  node.dataset.column = card.status;
  const { user, roles } = summarised(card.summary);
  const open = node.querySelector(".open");
  const text = `${card.key} ${user}`;
  const who = node.querySelector(".who");
  if (who.dataset.text !== text) {
    who.dataset.text = text;
    who.replaceChildren(...(user ? [face(user)] : []), el("b", {}, shortName(user)), el("small", {}, card.key));
  }
  setText(node.querySelector(".roles"), roles);
  open.setAttribute("aria-label", `${card.key}, ${card.status}: ${card.summary}`);
  const moved = node.querySelector(".moved");
  const sign = card.movedBy + card.movedAt;
  if (moved.dataset.sign !== sign) {
    moved.dataset.sign = sign;
    moved.replaceChildren(card.movedBy ? `${label(card.movedBy)} moved it here ` : "the agent made it ", when(card.movedBy ? card.movedAt : card.created));
  }
  const refused = node.querySelector(".refused");
  refused.hidden = !card.putBack;
  if (card.putBack) {
    const why = `${card.putBack.who} ${card.putBack.to} ${card.putBack.reason}`;
    if (refused.dataset.why !== why) {
      refused.dataset.why = why;
      refused.replaceChildren(el("b", {}, `Put back from ${card.putBack.to}. `), card.putBack.reason);
    }
  }
}

async function move(key, to) {
  await page.act("move", { as: page.actor(), issue: key, to });
}

// press begins a drag once the pointer has moved far enough; until then it may become a click.
function press(e) {
  const card = e.target.closest(".card");
  if (!card || e.button !== 0) return;
  // A finger on the card scrolls the page; on the grip it drags.
  if (e.pointerType === "touch" && !e.target.closest(".grip")) return;
  const start = { x: e.clientX, y: e.clientY };
  const box = card.getBoundingClientRect();
  let ghost = null, over = null;
  const aim = (column) => {
    if (over === column) return;
    over?.classList.remove("over");
    over = column;
    over?.classList.add("over");
  };
  const onMove = (ev) => {
    if (ev.pointerId !== e.pointerId) return;
    if (!ghost) {
      if (Math.hypot(ev.clientX - start.x, ev.clientY - start.y) < 6) return;
      page.hold(true);
      ghost = likeness(card, box.width);
      card.classList.add("leaving");
      document.body.classList.add("dragging");
    }
    ghost.style.transform = `translate(${box.left + ev.clientX - start.x}px, ${box.top + ev.clientY - start.y}px) rotate(1.5deg)`;
    aim(document.elementFromPoint(ev.clientX, ev.clientY)?.closest(".column") ?? null);
    const edge = 70;
    if (ev.pointerType === "touch" && ev.clientY < edge) scrollBy(0, -12);
    if (ev.pointerType === "touch" && ev.clientY > innerHeight - edge) scrollBy(0, 12);
  };
  const end = (ev) => {
    if (ev.pointerId !== undefined && ev.pointerId !== e.pointerId) return;
    if (ev.type === "keydown" && ev.key !== "Escape") return;
    for (const [name, handler] of listeners) removeEventListener(name, handler);
    if (!ghost) return;
    const to = ev.type === "pointerup" ? over?.dataset.key : undefined;
    aim(null);
    ghost.remove();
    card.classList.remove("leaving");
    document.body.classList.remove("dragging");
    page.hold(false);
    // The click that follows a drag opens nothing.
    addEventListener("click", (c) => c.preventDefault(), { capture: true, once: true });
    setTimeout(() => dispatchEvent(new Event("click")), 0);
    if (to && to !== card.dataset.column) move(card.dataset.key, to);
  };
  const listeners = [["pointermove", onMove], ["pointerup", end], ["pointercancel", end], ["keydown", end]];
  for (const [name, handler] of listeners) addEventListener(name, handler);
}

// steer moves cards by keyboard: Space picks up, arrows choose the column, Space or Enter drops, Escape lays it back.
function steer(e) {
  const card = e.target.closest(".card");
  if (!card || e.altKey || e.ctrlKey || e.metaKey) return;
  const columns = page.columns();
  if (!lifted) {
    if (e.key !== " ") return;
    e.preventDefault();
    steered = true;
    const from = card.dataset.column;
    lifted = { key: card.dataset.key, from, to: from };
    card.classList.add("lifted");
    aimAt(from);
    announce(`Picked up ${lifted.key} from ${from}. Left and right choose a column, Space drops, Escape cancels.`);
    return;
  }
  const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[e.key] ?? 0;
  if (step) {
    const at = columns.indexOf(lifted.to) + step;
    if (at >= 0 && at < columns.length) lifted.to = columns[at];
    aimAt(lifted.to);
    announce(`Over ${lifted.to}.`);
  } else if (e.key === " " || e.key === "Enter") lay(true);
  else if (e.key === "Escape") lay(false);
  else return;
  e.preventDefault();
  steered = true;
}

function aimAt(name) {
  for (const column of $("board").children) column.classList.toggle("over", column.dataset.key === name);
}

function lay(drop) {
  const { key, from, to } = lifted;
  lifted = null;
  aimAt(null);
  document.querySelector(".card.lifted")?.classList.remove("lifted");
  if (drop && to !== from) move(key, to);
  else announce(`${key} stays in ${from}.`);
}

// One card, opened: its comments and history, and what can be done with it.
import { act, actor, el, face, keyed, label, setText, tick, when, $ } from "./page.js";

let shown = ""; // key of the issue; empty while closed
let latest = () => null;

export function initIssue(snapshot) {
  latest = snapshot;
  const dialog = $("issue");
  $("issue-close").onclick = () => dialog.close();
  dialog.addEventListener("close", () => { shown = ""; });
  dialog.addEventListener("click", (e) => { if (e.target === dialog) dialog.close(); }); // on the backdrop
  $("comment").addEventListener("submit", async (e) => {
    e.preventDefault();
    const input = $("comment-text");
    const text = input.value.trim();
    if (text && await act("comment", { as: actor(), issue: shown, text })) input.value = "";
  });
}

export function openIssue(key) {
  shown = key;
  $("comment-text").value = "";
  renderIssue(latest());
  if (!$("issue").open) $("issue").showModal();
}

export function renderIssue(snapshot) {
  const card = snapshot?.cards.find((c) => c.key === shown);
  if (!card) return;
  setText($("issue-title"), `${card.key}: ${card.summary}`);
  setText($("issue-meta"), `${card.status}${card.request ? ", request " + card.request : ""}`);
  setText($("comment-as"), actor());
  keyed($("issue-moves"), snapshot.columns, (c) => c,
    (name) => el("button", { type: "button", onclick: () => act("move", { as: actor(), issue: shown, to: name }) }, name),
    (node, name) => {
      node.disabled = name === card.status;
      node.toggleAttribute("aria-current", name === card.status);
    });
  entries($("issue-comments"), [...card.comments].reverse(), (c) => c.text, "Nobody has said anything yet.");
  entries($("issue-history"), [...card.history].reverse(), (c) => `${c.from} → ${c.to}`, "It has not been moved yet.");
  tick();
}

function entries(list, items, textOf, none) {
  const shownItems = items.length ? items : [{ none }];
  keyed(list, shownItems, (item) => (item.none ? "none" : `${shown} ${item.at} ${item.who} ${textOf(item)}`),
    (item) => (item.none
      ? el("li", { className: "none" }, none)
      : el("li", {}, face(item.who), el("div", {}, el("p", { className: "by" }, el("b", {}, label(item.who)), " ", when(item.at)), el("p", {}, textOf(item))))),
    () => {});
}

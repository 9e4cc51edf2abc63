// Teleport's panel: requests are made, reviewed and decided as in its web UI and with tctl.
import { act, el, face, flash, keyed, label, setText, shortName, until, when, $ } from "./page.js";

const reasons = { "alice@example.com": "on call this week", "carol@example.com": "want to look around", "erin@example.com": "restore drill", "frank@example.com": "month-end report" };
const reviewers = ["dave@example.com", "grace@example.com", "heidi@example.com"];

export function initTeleport() {
  const form = $("request");
  form.user.addEventListener("change", () => {
    if (Object.values(reasons).includes(form.reason.value)) form.reason.value = reasons[form.user.value];
  });
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    act("request", {
      user: form.user.value,
      roles: form.roles.value.split(", "),
      reason: form.reason.value,
      lifetime: Number(form.lifetime.value),
      reviews: Number(form.reviews.value),
    });
  });
}

export function renderTeleport(snapshot, before) {
  const states = new Map((before?.requests ?? []).map((r) => [r.id, r.state + r.reviews.length]));
  keyed($("requests"), snapshot.requests, (r) => r.id, makeRequest, (node, r) => {
    updateRequest(node, r);
    if (before && states.get(r.id) !== r.state + r.reviews.length) flash(node);
  });
}

function makeRequest(r) {
  const id = r.id;
  const who = el("select", { "aria-label": "Reviewer" }, ...reviewers.filter((u) => u !== r.user).map((u) => el("option", { value: u }, shortName(u))));
  const reason = el("input", { placeholder: "Reason (optional)", "aria-label": "Reason", maxLength: 300, autocomplete: "off" });
  const button = (text, title, className, order) => el("button", { type: "button", title, className, onclick: () => act(...order()) }, text);
  const actions = el("details", { className: "decide" }, el("summary", {}, "Decide in Teleport"),
    el("div", { className: "row" }, who, reason),
    el("div", { className: "row" },
      button("Review: approve", "One review in the web UI, by the reviewer above", "good", () => ["review", { request: id, user: who.value, approve: true, reason: reason.value }]),
      button("Review: deny", "One review in the web UI, by the reviewer above", "bad", () => ["review", { request: id, user: who.value, approve: false, reason: reason.value }])),
    el("div", { className: "row" },
      button("Approve", "tctl requests approve, by an administrator", "good", () => ["decide", { request: id, approve: true, reason: reason.value }]),
      button("Deny", "tctl requests deny, by an administrator", "bad", () => ["decide", { request: id, approve: false, reason: reason.value }]),
      button("Let expire", "Its time runs out now", "", () => ["expire", { request: id }])));
  return el("li", { className: "request" },
    el("div", { className: "line" }, face(r.user), el("b", {}, shortName(r.user)), el("span", { className: "pill" })),
    el("p", { className: "what" }, r.roles.join(", "), r.reason ? el("span", { className: "reason" }, ` “${r.reason}”`) : null),
    el("p", { className: "then" }), el("ul", { className: "reviews" }), actions);
}

function updateRequest(node, r) {
  node.dataset.state = r.state;
  setText(node.querySelector(".pill"), r.state);
  const then = node.querySelector(".then");
  const sign = [r.state, r.issue, r.by, r.because, r.expires].join("|");
  if (then.dataset.sign !== sign) {
    then.dataset.sign = sign;
    const issue = r.issue ? `card ${r.issue}` : "no card yet";
    if (r.state === "pending") then.replaceChildren(issue, " · ", ...(r.expires ? [until(r.expires)] : ["made ", when(r.created)]));
    else if (r.state === "expired") then.replaceChildren(issue, " · nobody decided it in time");
    else then.replaceChildren(issue, ` · by ${label(r.by)}${r.by.startsWith("jira:") ? " in Jira" : " in Teleport"}${r.because ? `: “${r.because}”` : ""}`);
  }
  // The review that resolved the request is told above.
  keyed(node.querySelector(".reviews"), r.state === "pending" ? r.reviews : [], (v) => v.who, (v) => el("li", {}, `${label(v.who)}: ${v.text}`), () => {});
  node.querySelector(".decide").hidden = r.state !== "pending";
}

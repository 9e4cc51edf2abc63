// The agents, what is around them, and what is told.
import { act, el, flash, keyed, seconds, setText, $ } from "./page.js";

export function renderMachinery(snapshot) {
  keyed($("replicas"), snapshot.replicas, (r) => r.name, makeReplica, updateReplica);
  const sides = [["jira", "Jira"], ["postgres", "PostgreSQL"]].map(([side, name]) => ({ side, name, broken: snapshot.broken.includes(side) }));
  keyed($("sides"), sides, (s) => s.side, makeSide, updateSide);
  renderLag($("lag-issue"), snapshot.lag.issue, snapshot.lag.issueWaiting);
  renderLag($("lag-decision"), snapshot.lag.decision, snapshot.lag.decisionWaiting);
  renderStory(snapshot.story);
}

function makeReplica({ name }) {
  const button = (className, text, run) => el("button", { type: "button", className, "aria-label": `${text} ${name}`, onclick: run }, text);
  return el("article", { className: "replica", "aria-label": name },
    el("header", {}, el("h3", {}, name), el("span", { className: "pill" })),
    el("p", { className: "says" }),
    el("div", { className: "row" },
      button("kill bad", "Kill", () => act("kill", { replica: name })),
      button("freeze", "Freeze", (e) => act(e.currentTarget.dataset.act, { replica: name })),
      button("restart", "Restart", () => act("restart", { replica: name }))),
    el("pre", { className: "log", tabIndex: 0, "aria-label": `How the log of ${name} ends` }));
}

// roleOf is one word for what a replica does now, and a sentence that explains it.
function roleOf({ running, frozen, pid, health }) {
  if (!running) return ["gone", "gone", "No process. What it had begun is taken up by the other one."];
  if (frozen) return ["frozen", "frozen", `Process ${pid} stands still. Its lease runs out, and the other one takes over.`];
  const trouble = health.reasons?.length ? health.reasons.join("; ") : "";
  if (health.role === "leader") return ["leads", `leads · epoch ${health.epoch}`, trouble || `Process ${pid}. It alone writes to Jira and Teleport.`];
  if (health.role === "standby") return [trouble ? "trouble" : "standby", trouble ? "not ready" : "stands by", trouble || `Process ${pid}. It takes over when the leader is gone.`];
  return ["starting", "no answer", `Process ${pid} does not answer yet.`];
}

function updateReplica(node, replica) {
  const [role, text, says] = roleOf(replica);
  if (node.dataset.role && node.dataset.role !== role) flash(node);
  node.dataset.role = role;
  setText(node.querySelector(".pill"), text);
  setText(node.querySelector(".says"), says);
  const [kill, freeze, restart] = node.querySelectorAll("button");
  kill.disabled = !replica.running;
  freeze.disabled = !replica.running;
  freeze.dataset.act = replica.frozen ? "thaw" : "freeze";
  name(freeze, replica.frozen ? "Thaw" : "Freeze", replica.name);
  name(restart, replica.running ? "Restart" : "Start", replica.name);
  setText(node.querySelector(".log"), replica.log.join("\n"));
}

function name(button, text, whom) {
  setText(button, text);
  button.setAttribute("aria-label", `${text} ${whom}`);
}

function makeSide({ side }) {
  return el("div", { className: "side" }, el("span", { className: "dot" }), el("b", {}), el("span", { className: "state" }),
    el("button", { type: "button", onclick: (e) => act(e.currentTarget.dataset.act, { side }) }));
}

function updateSide(node, { name: text, broken, side }) {
  node.dataset.broken = broken;
  setText(node.querySelector("b"), text);
  setText(node.querySelector(".state"), broken ? (side === "jira" ? "answers no agent" : "has crashed") : "works");
  const button = node.querySelector("button");
  button.dataset.act = broken ? "mend" : "break";
  button.className = broken ? "good" : "bad";
  name(button, broken ? "Mend" : "Break", text);
}

function renderLag(node, ms, waiting) {
  const value = node.querySelector("dd");
  node.classList.toggle("waiting", Boolean(waiting));
  if (waiting) value.dataset.waiting = waiting;
  else {
    delete value.dataset.waiting;
    setText(value, ms < 0 ? "–" : seconds(ms));
  }
}

function renderStory(story) {
  const list = $("story");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  keyed(list, story, (line) => line.number,
    (line) => el("li", { "data-who": line.who, className: line.who ? "" : "title" },
      line.who ? el("b", {}, line.who) : null, el("span", {}, line.text)),
    () => {});
  if (atEnd) list.scrollTop = list.scrollHeight;
}

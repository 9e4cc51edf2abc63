// What all parts of the page share: acts, times, messages and small pieces of DOM.

export const $ = (id) => document.getElementById(id);

// el makes an element; properties that start with "data-" or "aria-" become attributes.
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (name.includes("-") || name === "role") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
}

// setText touches the DOM only where the text differs, so that selections and animations stay.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// keyed makes the children of a list those of the items, in their order, and keeps the nodes of those that stay.
export function keyed(list, items, keyOf, make, update) {
  const had = new Map([...list.children].map((n) => [n.dataset.key, n]));
  let at = list.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let node = had.get(key);
    had.delete(key);
    if (!node) {
      node = make(item);
      node.dataset.key = key;
    }
    if (node === at) at = at.nextElementSibling;
    else list.insertBefore(node, at);
    update(node, item);
  }
  for (const node of had.values()) node.remove();
}

export const actor = () => document.querySelector("input[name=actor]:checked").value;

export const shortName = (user) => user.split("@")[0];

export const label = (who) => {
  const name = shortName(who).replace(/^jira:/, "");
  return name === "agent" || name === "jira-agent" ? "the agent" : name || "somebody";
};

export function face(who) {
  const name = label(who).replace("the ", "");
  return el("i", { className: "face", "data-who": name, "aria-hidden": "true" }, name === "agent" ? "⚙" : name[0].toUpperCase());
}

// act asks the demo to do something, and says on the page what it answers if it refuses.
export async function act(name, order) {
  try {
    const answer = await fetch("/act/" + name, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(order),
    });
    if (!answer.ok) {
      const { error } = await answer.json().catch(() => ({ error: answer.statusText }));
      toast(error);
      return false;
    }
  } catch {
    toast("The demo does not answer. Has it ended?");
    return false;
  }
  document.dispatchEvent(new CustomEvent("acted", { detail: { name, order } }));
  return true;
}

export function toast(text) {
  const node = el("div", { className: "toast" }, el("p", {}, text));
  const close = el("button", { className: "quiet", "aria-label": "Dismiss" }, "✕");
  close.onclick = () => node.remove();
  node.append(close);
  $("toasts").append(node);
  setTimeout(() => node.remove(), 12000);
}

export function announce(text) {
  const live = $("announce");
  live.append(el("p", {}, text));
  while (live.children.length > 5) live.firstElementChild.remove();
}

let ahead = 0; // of the demo's clock

export const setClock = (now) => { ahead = Date.now() - Date.parse(now); };
export const since = (at) => Math.max(0, Date.now() - ahead - Date.parse(at));

export const when = (at) => el("time", { "data-at": at });
export const until = (at) => el("time", { "data-until": at });

// tick renews all relative times on the page.
export function tick() {
  for (const node of document.querySelectorAll("time[data-at]")) {
    const ms = since(node.dataset.at);
    setText(node, ms < 1500 ? "now" : span(ms) + " ago");
  }
  for (const node of document.querySelectorAll("time[data-until]")) {
    const ms = Date.parse(node.dataset.until) - (Date.now() - ahead);
    setText(node, ms > 0 ? "expires in " + span(ms) : "past its expiry");
  }
  for (const node of document.querySelectorAll("[data-waiting]")) setText(node, seconds(since(node.dataset.waiting)) + " …");
}

export const seconds = (ms) => (ms < 10 ? "< 0.01\u00a0s" : (ms / 1000).toFixed(ms < 1000 ? 2 : 1) + "\u00a0s");

function span(ms) {
  const s = Math.round(ms / 1000);
  if (s < 90) return s + "\u00a0s";
  if (s < 5400) return Math.round(s / 60) + "\u00a0min";
  if (s < 36 * 3600) return Math.round(s / 3600) + "\u00a0h";
  return Math.round(s / 86400) + "\u00a0days";
}

// flash marks what has just changed; the style sheet decides how, as motion may be unwanted.
export function flash(node) {
  node.classList.remove("changed");
  void node.offsetWidth; // starts the animation anew
  node.classList.add("changed");
  clearTimeout(node.unflash);
  node.unflash = setTimeout(() => node.classList.remove("changed"), 2500);
}

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

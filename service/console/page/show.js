// How things are shown: elements with text, numbers, times, and the question before something is done. What others wrote
// is only ever set as text.

export const by = (id) => document.getElementById(id);

// An element with a class and children: elements, or text.
export function make(tag, className = "", ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

export function button(text, label, onClick, className = "quiet small") {
  const element = make("button", className, text);
  element.type = "button";
  element.setAttribute("aria-label", label);
  element.addEventListener("click", onClick);
  return element;
}

export const whole = (value) => value.toLocaleString("en");

export function rate(value) {
  if (value === null) return "–";
  return value > 0 && value < 10 ? value.toFixed(1) : whole(Math.round(value));
}

export function age(seconds) {
  if (!seconds) return "–";
  if (seconds < 0.95) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${(seconds / 60).toFixed(1)} min`;
  return seconds < 86_400 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86_400).toFixed(1)} d`;
}

export function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let at = 0;
  for (; bytes >= 1024 && at < units.length - 1; at += 1) bytes /= 1024;
  return `${at ? bytes.toFixed(1) : bytes} ${units[at]}`;
}

// Unix seconds as a UTC time, with milliseconds where asked.
export function time(seconds, digits = 0) {
  const text = new Date(seconds * 1000).toISOString();
  return `${text.slice(0, 10)} ${text.slice(11, digits ? 23 : 19)}`;
}

export function say(element, text, isRefusal = false) {
  element.textContent = text;
  element.classList.toggle("refused", isRefusal);
}

// Asks before something is done; true when it was confirmed. Escape and Cancel mean no.
export function confirmed(title, text, yes) {
  const dialog = by("dialog");
  by("dialog-title").textContent = title;
  by("dialog-text").textContent = text;
  by("dialog-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

"use strict";
// The case explorer: filters, sorts and pages the cases of the data block. Text of a case is only ever set as text.
(() => {
  const PAGE = 25;
  const data = JSON.parse(document.getElementById("case-data").textContent);
  const form = document.getElementById("filters");
  const list = document.getElementById("case-list");
  const shown = document.getElementById("shown");
  const pager = document.getElementById("pager");
  const [first, previous, next, last] = pager.querySelectorAll("button");
  const template = document.getElementById("case-template");
  const transitions = [...form.querySelectorAll("[name=transition]")];
  const names = transitions.map((box) => box.dataset.name);
  const classes = transitions.map((box) => box.value);

  const scores = (one) => one[data.key] ?? [0, 0];
  const change = (one) => scores(one)[1] - scores(one)[0];
  const before = (one) => scores(one)[0];
  const after = (one) => scores(one)[1];
  const ORDERS = {
    change: (a, b) => Math.abs(change(b)) - Math.abs(change(a)),
    gained: (a, b) => change(b) - change(a),
    lost: (a, b) => change(a) - change(b),
    before: (a, b) => before(a) - before(b),
    after: (a, b) => after(a) - after(b),
    sure: (a, b) => after(b) - after(a),
    file: () => 0,
  };

  let found = [];
  let page = 0;

  function haystack(one) {
    // Built once per case, on the first search.
    const texts = one.texts.map((text) => [text].flat().join(""));
    one.words ??= [one.id, ...texts, one.label, ...(one.answers ?? []), one.before, one.after, one.explanation]
      .filter(Boolean).join("\n").toLowerCase();
    return one.words;
  }

  function refresh() {
    const chosen = new Set(transitions.flatMap((box, at) => (box.checked ? [at] : [])));
    const label = form.elements.label?.value ?? "";
    const slice = form.elements.slice?.value ?? "";
    const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    found = data.cases.filter((one) =>
      (!chosen.size || chosen.has(one.transition))
      && (!label || one.label === data.labels[label])
      && (!slice || one.slices.includes(Number(slice)))
      && words.every((word) => haystack(one).includes(word)));
    const order = form.elements.sort?.value ?? "file";
    if (order !== "file") found.sort(ORDERS[order]);
    show(0);
  }

  function show(number) {
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    page = Math.min(Math.max(number, 0), pages - 1);
    const start = page * PAGE;
    const part = found.slice(start, start + PAGE);
    list.replaceChildren(...part.map(item));
    list.start = start + 1;
    // Scroll the box of a long text to its answer.
    for (const mark of list.querySelectorAll("mark:first-of-type")) {
      const box = mark.parentElement;
      box.scrollTop = mark.offsetTop - box.offsetTop - box.clientHeight / 2;
    }
    if (list.firstElementChild) list.firstElementChild.tabIndex = 0;
    const count = (n) => n.toLocaleString("en");
    shown.textContent = part.length
      ? `Cases ${count(start + 1)} to ${count(start + part.length)} of ${count(found.length)}`
        + (found.length < data.cases.length ? ` matching, ${count(data.cases.length)} in total.` : ".")
      : "No case matches these filters.";
    first.disabled = previous.disabled = page === 0;
    next.disabled = last.disabled = page === pages - 1;
    pager.hidden = pages === 1;
  }

  function put(parent, tag, text, className) {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    parent.append(element);
    return element;
  }

  function pair(parent, name, text) {
    const row = put(parent, "div");
    put(row, "dt", name);
    const value = put(row, "dd");
    value.dir = "auto";
    // In a text of pieces, every second piece is a gold answer.
    [text].flat().forEach((piece, at) => { if (at % 2) put(value, "mark", piece); else value.append(piece); });
    return value;
  }

  function answer(element, one, at) {
    const text = at ? one.after : one.before;
    const scored = data.key !== "margins" && one[data.key];
    const share = (one.gold ?? (scored || undefined))?.[at];
    const margin = one.margins?.[at];
    element.textContent = "";
    if (text === null) put(element, "em", "no valid answer");
    else if (text === "") put(element, "em", one.answers ? "no answer" : "empty answer");
    else put(element, "bdi", text);
    const figures = [];
    if (scored) figures.push(`${data.score}\u00a0${share.toFixed(2)}`);
    else if (share !== undefined) figures.push(`gold at ${(100 * share).toFixed(1)}\u00a0%`);
    if (margin !== undefined) figures.push(`margin\u00a0${margin < 0 ? "−" : "+"}${Math.abs(margin).toFixed(2)}`);
    if (figures.length) put(element, "span", ` · ${figures.join(", ")}`, "muted");
    if (share === undefined) return;
    const fill = put(put(element, "span", undefined, "bar"), "i");
    fill.style.width = `${(100 * share).toFixed(1)}%`;
  }

  function gold(element, one) {
    if (one.answers && !one.answers.length) put(element, "em", "no answer");
    (one.answers ?? [one.label]).forEach((text, at) => {
      if (at) element.append(" / ");
      put(element, "bdi", text);
    });
  }

  // A case with the field names of data/cases.jsonl, as far as the page has them, and the evidence as shown.
  function asJson(one) {
    const both = (name, pair) => (pair ? { [`base_${name}`]: pair[0], [`tuned_${name}`]: pair[1] } : {});
    return JSON.stringify({
      case_id: one.id,
      transition: classes[one.transition],
      ...Object.fromEntries(one.texts.map((text, at) => [data.inputs[at], [text].flat().join("")])),
      label: one.label,
      ...(one.answers && { answers: one.answers }),
      ...both("prediction", [one.before, one.after]),
      ...both(data.key === "margins" ? "margin" : data.key, one[data.key]),
      ...both("gold_probability", one.gold),
      slices: one.slices.map((at) => data.slices[at]),
      ...(one.explanation && { explanation: one.explanation }),
      ...(one.evidence && { evidence: Object.fromEntries(one.evidence) }),
    }, null, 2);
  }

  async function copy(button, one) {
    try {
      await navigator.clipboard.writeText(asJson(one));
      button.textContent = "Copied";
    } catch {
      button.textContent = "The browser blocked copying";
    }
    setTimeout(() => { button.textContent = "Copy as JSON"; }, 2000);
  }

  function item(one) {
    const element = template.content.firstElementChild.cloneNode(true);
    const part = (name) => element.querySelector(`[data-part=${name}]`);
    element.tabIndex = -1;
    const badge = part("transition");
    badge.textContent = names[one.transition];
    badge.classList.add(classes[one.transition]);
    one.texts.forEach((text, at) => pair(part("inputs"), data.inputs[at], text));
    gold(part("label"), one);
    answer(part("before"), one, 0);
    answer(part("after"), one, 1);
    if (one.explanation) part("explanation").textContent = one.explanation;
    else part("explanation").remove();
    if (one.evidence) one.evidence.forEach(([name, value]) => pair(part("evidence"), name, value));
    else element.querySelector("details").remove();
    const foot = part("foot");
    const button = part("copy");
    button.addEventListener("click", () => copy(button, one));
    one.slices.forEach((at) => put(put(foot, "span", undefined, "tag"), "bdi", data.slices[at]));
    put(foot, "code", one.id);
    foot.append(button);
    return element;
  }

  function move(step) {
    const items = [...list.children];
    const at = items.indexOf(document.activeElement.closest("#case-list > li"));
    const pages = Math.ceil(found.length / PAGE);
    if (at + step < 0 && page > 0) { show(page - 1); focus(list.lastElementChild); }
    else if (at + step >= items.length && page < pages - 1) { show(page + 1); focus(list.firstElementChild); }
    else focus(items[Math.min(Math.max(at + step, 0), items.length - 1)]);
  }

  function focus(element) {
    if (!element) return;
    for (const other of list.children) other.tabIndex = -1;
    element.tabIndex = 0;
    element.focus();
  }

  list.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const own = event.target.parentElement === list;
    const steps = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key in steps) move(steps[event.key]);
    else if (event.key === "ArrowRight" && !next.disabled) { show(page + 1); focus(list.firstElementChild); }
    else if (event.key === "ArrowLeft" && !previous.disabled) { show(page - 1); focus(list.firstElementChild); }
    else if (event.key === "Enter" && own) {
      const details = event.target.querySelector("details");
      if (details) details.open = !details.open;
    } else return;
    event.preventDefault();
  });
  for (const [button, to] of [[first, () => 0], [previous, () => page - 1], [next, () => page + 1],
    [last, () => Math.ceil(found.length / PAGE) - 1]]) {
    button.addEventListener("click", () => { show(to()); document.getElementById("cases").scrollIntoView(); });
  }
  form.addEventListener("input", refresh);
  form.addEventListener("reset", () => setTimeout(refresh));
  form.addEventListener("submit", (event) => event.preventDefault());

  // Links in the tables above to the cases of a transition or a slice.
  for (const link of document.querySelectorAll("a[data-transition], a[data-slice]")) {
    const slice = data.slices.indexOf(link.dataset.slice);
    if (link.dataset.slice && slice < 0) { link.removeAttribute("href"); continue; }
    link.addEventListener("click", () => {
      form.reset();
      transitions.forEach((box) => { box.checked = box.value === link.dataset.transition; });
      if (link.dataset.slice) form.elements.slice.value = slice;
      refresh();
    });
  }
  document.getElementById("explorer").hidden = false;
  refresh();
})();

"use strict";
// Sorting, filtering and zoom of the page. The table of all rows is drawn from the
// JSON block, a hundred rows at a time; text goes in by textContent alone.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const PAGE = 100;
  const count = data.name.length;
  const lower = data.name.map((name) => name.toLowerCase());
  const cards = [...$("gallery").children];
  const cardOf = new Map(cards.map((card) => [Number(card.dataset.row), card]));
  const hasMos = data.mos.length > 0;
  const known = (i) => hasMos && data.mos[i] !== null;
  const hasGroups = data.groups.length > 0;
  const plain = new Intl.NumberFormat("en");
  const state = { why: "", view: "gallery", page: 0, rows: [], zoomed: 0 };

  const COLUMNS = [
    { key: "name", title: "picture", value: (i) => data.name[i] },
    { key: "status", title: "status", value: (i) => data.kinds[data.status[i]] },
    { key: "score", title: "score", number: 3, value: (i) => data.score[i] },
    { key: "sigma", title: "sigma", number: 3, value: (i) => data.sigma[i] },
    { key: "mos", title: "MOS", number: 3, value: (i) => data.mos[i], if: hasMos },
    { key: "residual", title: "residual", number: 3, value: (i) => data.residual[i], if: hasMos },
    { key: "group", title: data.groupBy, value: (i) => data.groups[data.group[i]], if: hasGroups },
    { key: "note", title: "note", value: (i) => data.note[i] ?? "" },
  ].filter((column) => column.if !== false);

  const ORDERS = [
    ["-score", "Best score first"],
    ["score", "Worst score first"],
    ["name", "Name"],
    ["row", "Order of the file"],
    ["-sigma", "Largest sigma first"],
    ...(hasGroups ? [["group", data.groupBy]] : []),
    ...(hasMos ? [["-size", "Largest residual first"], ["-mos", "Highest MOS first"], ["mos", "Lowest MOS first"]] : []),
  ];
  const KEYS = {
    row: (i) => i,
    size: (i) => (known(i) ? Math.abs(data.residual[i]) : null),
    ...Object.fromEntries(COLUMNS.map((column) => [column.key, column.value])),
  };
  const WHY = { best: "Best", between: "Even sample", worst: "Worst", residual: "Largest residuals", failed: "No score" };
  const collator = new Intl.Collator("en", { numeric: true });

  function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function option(select, value, text) {
    const made = element("option", text);
    made.value = value;
    select.append(made);
  }

  // Rows without a value go last in either direction; ties keep the order of the file.
  function ordered(rows, order) {
    const down = order.startsWith("-");
    const key = KEYS[down ? order.slice(1) : order];
    const there = rows.filter((i) => key(i) !== null && key(i) !== undefined);
    const rest = rows.filter((i) => key(i) === null || key(i) === undefined);
    const words = there.length > 0 && typeof key(there[0]) === "string";
    const sign = down ? -1 : 1;
    there.sort((a, b) => sign * (words ? collator.compare(key(a), key(b)) : key(a) - key(b)) || a - b);
    return there.concat(rest);
  }

  function matches() {
    const words = $("find").value.toLowerCase();
    const status = $("status").value;
    const group = $("group").value;
    const low = $("low").value === "" ? null : Number($("low").value);
    const high = $("high").value === "" ? null : Number($("high").value);
    return (i) => {
      if (words && !lower[i].includes(words)) return false;
      if (status !== "" && data.status[i] !== Number(status)) return false;
      if (group !== "" && data.group[i] !== Number(group)) return false;
      const score = data.score[i];
      if (low !== null && !(score !== null && score >= low)) return false;
      return high === null || (score !== null && score <= high);
    };
  }

  function update() {
    const test = matches();
    const order = $("sort").value;
    state.page = 0;
    const embedded = [...cardOf.keys()].filter(test)
      .filter((i) => !state.why || cardOf.get(i).dataset.why.split(" ").includes(state.why));
    const shown = ordered(embedded.sort((a, b) => a - b), order);
    const visible = new Set(shown);
    cards.forEach((card) => { card.hidden = !visible.has(Number(card.dataset.row)); });
    $("gallery").append(...shown.map((i) => cardOf.get(i)));
    state.shown = shown;
    const all = [];
    for (let i = 0; i < count; i++) if (test(i)) all.push(i);
    state.rows = state.view === "table" ? ordered(all, order) : all;
    const table = state.view === "table";
    $("gallery").hidden = table;
    $("table").hidden = !table || all.length === 0;
    $("empty").hidden = table ? all.length > 0 : shown.length > 0;
    $("counted").textContent = table
      ? `${plain.format(all.length)} of ${plain.format(count)} rows`
      : `${plain.format(shown.length)} shown; ${plain.format(all.length)} of ${plain.format(count)} match`;
    if (table) drawTable();
  }

  function drawTable() {
    const pages = Math.max(1, Math.ceil(state.rows.length / PAGE));
    const part = state.rows.slice(state.page * PAGE, (state.page + 1) * PAGE);
    $("rows").replaceChildren(...part.map(drawRow));
    $("page").textContent = `Page ${plain.format(state.page + 1)} of ${plain.format(pages)}`;
    $("before").disabled = state.page === 0;
    $("after").disabled = state.page + 1 >= pages;
    const order = $("sort").value;
    for (const button of $("columns").querySelectorAll("button")) {
      const key = button.dataset.key;
      const on = order === key || order === "-" + key;
      button.classList.toggle("on", on);
      button.textContent = button.dataset.title + (on ? (order.startsWith("-") ? " ↓" : " ↑") : "");
    }
  }

  function drawRow(i) {
    const row = element("tr");
    for (const column of COLUMNS) {
      const value = column.value(i);
      const text = column.number ? (value === null ? "" : value.toFixed(column.number)) : value;
      const cell = element("td", text, column.number ? "number" : "");
      if (column.key === "name" || column.key === "note") cell.classList.add("called");
      if (column.key === "name" && cardOf.has(i)) {
        cell.classList.add("shown");
        cell.addEventListener("click", () => zoomTo(i));
      }
      if (column.key === "status" && text !== "ok") cell.classList.add("bad");
      row.append(cell);
    }
    return row;
  }

  function sortBy(key) {
    const first = COLUMNS.find((column) => column.key === key).number ? "-" + key : key;
    const other = first.startsWith("-") ? key : "-" + key;
    const wanted = $("sort").value === first ? other : first;
    if (![...$("sort").options].some((o) => o.value === wanted)) {
      const title = COLUMNS.find((column) => column.key === key).title;
      option($("sort"), wanted, `${title}, ${wanted.startsWith("-") ? "falling" : "rising"}`);
    }
    $("sort").value = wanted;
    update();
  }

  function setView(view) {
    state.view = view;
    $("view-gallery").setAttribute("aria-pressed", String(view === "gallery"));
    $("view-table").setAttribute("aria-pressed", String(view === "table"));
    $("chips").hidden = view === "table";
    update();
  }

  function setWhy(why) {
    state.why = why;
    for (const chip of $("chips").children) chip.setAttribute("aria-pressed", String(chip.dataset.why === why));
    update();
  }

  function reset() {
    for (const id of ["find", "status", "group", "low", "high"]) $(id).value = "";
    $("sort").value = "-score";
    setWhy("");
  }

  function jump() {
    $("pictures").scrollIntoView();
    update();
  }

  // --- zoom: the embedded picture, magnified and dragged, with its quality map
  const place = { scale: 1, x: 0, y: 0, map: false };

  function zoomTo(i) {
    state.zoomed = i;
    place.map = false;
    const image = cardOf.get(i).querySelector("img");
    const score = data.score[i];
    $("zoom-score").textContent = score === null ? data.kinds[data.status[i]] : score.toFixed(3);
    $("zoom-name").textContent = data.name[i] + (known(i) ? ` · MOS ${data.mos[i]} · residual ${data.residual[i]}` : "");
    $("zoom-map").hidden = !(image && image.dataset.map);
    showPicture(image);
    fit();
    if (!$("zoom").open) $("zoom").showModal();
  }

  function showPicture(image) {
    $("zoom-picture").hidden = !image;
    $("zoom-none").hidden = Boolean(image);
    if (!image) return;
    $("zoom-picture").src = place.map ? image.dataset.map : image.src;
    $("zoom-picture").alt = image.alt;
    $("zoom-map").setAttribute("aria-pressed", String(place.map));
  }

  function fit() {
    Object.assign(place, { scale: 1, x: 0, y: 0 });
    move();
  }

  function move() {
    const style = $("zoom-picture").style;
    style.transform = `translate(${place.x}px, ${place.y}px) scale(${place.scale})`;
    style.imageRendering = place.scale > 3 ? "pixelated" : "auto";
  }

  function scale(factor) {
    const wanted = Math.min(16, Math.max(1, place.scale * factor));
    place.x *= wanted / place.scale;
    place.y *= wanted / place.scale;
    place.scale = wanted;
    if (wanted === 1) place.x = place.y = 0;
    move();
  }

  function step(by) {
    const shown = state.shown;
    if (!shown.length) return;
    const at = shown.indexOf(state.zoomed);
    zoomTo(shown[(at + by + shown.length) % shown.length]);
  }

  function bindZoom() {
    cards.forEach((card) => card.querySelector(".frame").addEventListener("click", () => zoomTo(Number(card.dataset.row))));
    $("zoom-in").addEventListener("click", () => scale(1.5));
    $("zoom-out").addEventListener("click", () => scale(1 / 1.5));
    $("zoom-before").addEventListener("click", () => step(-1));
    $("zoom-after").addEventListener("click", () => step(1));
    $("zoom-close").addEventListener("click", () => $("zoom").close());
    $("zoom-map").addEventListener("click", () => {
      place.map = !place.map;
      showPicture(cardOf.get(state.zoomed).querySelector("img"));
    });
    $("stage").addEventListener("wheel", (event) => {
      event.preventDefault();
      scale(event.deltaY < 0 ? 1.2 : 1 / 1.2);
    }, { passive: false });
    $("stage").addEventListener("pointermove", (event) => {
      if (!(event.buttons & 1) || place.scale === 1) return;
      place.x += event.movementX;
      place.y += event.movementY;
      move();
    });
    $("zoom").addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") step(-1);
      if (event.key === "ArrowRight") step(1);
      if (event.key === "+") scale(1.5);
      if (event.key === "-") scale(1 / 1.5);
    });
  }

  function fillTools() {
    option($("status"), "", "Any status");
    data.kinds.forEach((kind, i) => option($("status"), i, kind));
    option($("group"), "", hasGroups ? `Any ${data.groupBy}` : "");
    data.groups.forEach((name, i) => option($("group"), i, name));
    $("group").hidden = !hasGroups;
    ORDERS.forEach(([value, text]) => option($("sort"), value, text));
    const present = new Set(cards.flatMap((card) => card.dataset.why.split(" ")));
    for (const [why, text] of [["", "All embedded"], ...Object.entries(WHY)]) {
      if (why && !present.has(why)) continue;
      const chip = element("button", text);
      chip.type = "button";
      chip.dataset.why = why;
      chip.setAttribute("aria-pressed", String(why === ""));
      chip.addEventListener("click", () => setWhy(why));
      $("chips").append(chip);
    }
    const head = element("tr");
    for (const column of COLUMNS) {
      const cell = element("th", undefined, column.number ? "number" : "");
      const button = element("button", column.title);
      button.dataset.key = column.key;
      button.dataset.title = column.title;
      button.addEventListener("click", () => sortBy(column.key));
      cell.append(button);
      head.append(cell);
    }
    $("columns").append(head);
  }

  function bindTools() {
    let timer = 0;
    $("tools").addEventListener("submit", (event) => event.preventDefault());
    $("tools").addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(update, count > 20000 ? 200 : 0);
    });
    $("reset").addEventListener("click", reset);
    $("view-gallery").addEventListener("click", () => setView("gallery"));
    $("view-table").addEventListener("click", () => setView("table"));
    $("before").addEventListener("click", () => { state.page -= 1; drawTable(); });
    $("after").addEventListener("click", () => { state.page += 1; drawTable(); });
    document.querySelectorAll(".hit").forEach((bar) => bar.addEventListener("click", () => {
      $("low").value = bar.dataset.low;
      $("high").value = bar.dataset.high;
      jump();
    }));
    document.querySelectorAll("#groups [data-group]").forEach((line) => line.addEventListener("click", () => {
      $("group").value = data.groups.indexOf(line.dataset.group);
      jump();
    }));
    document.querySelectorAll("#statuses [data-status]").forEach((line) => line.addEventListener("click", () => {
      $("status").value = data.kinds.indexOf(line.dataset.status);
      jump();
    }));
  }

  fillTools();
  bindTools();
  bindZoom();
  document.documentElement.classList.add("js");
  // A reload may restore what was typed; the page starts with everything.
  reset();
})();

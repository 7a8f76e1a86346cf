// SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
// SPDX-License-Identifier: Apache-2.0
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const isNarrow = () => window.innerWidth < 600;
const CONFIG = { responsive: true, displaylogo: false, displayModeBar: isNarrow() ? false : "hover", modeBarButtonsToRemove: ["lasso2d", "select2d"] };
const LABELLED = 8;
const SHOWN_GENES = 20;
const TABLE_ROWS = 25;
// Fewer points are drawn one by one: a histogram of two is two blocks.
const ENOUGH_FOR_HISTOGRAM = 30;

const element = (id) => document.getElementById(id);
const clean = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

let ink = {};
let look = {};

// Okabe-Ito colours, which differ for every kind of colour vision, lighter in the dark; markers differ too.
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["ink", "quiet", "line", "grid", "paper", "blue", "orange"]) ink[name] = style.getPropertyValue("--" + name).trim();
  look = {
    control: { color: ink.quiet, symbol: "circle-open", name: "control" },
    observed: { color: ink.blue, symbol: "circle", name: "observed" },
    predicted: { color: ink.orange, symbol: "x-thin-open", name: "predicted" },
  };
}

function decode(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

function layout(x, y, more) {
  const axis = (title) => ({
    title: { text: title, standoff: 8 }, zeroline: true, zerolinecolor: ink.quiet, gridcolor: ink.grid, linecolor: ink.line, automargin: true,
  });
  return Object.assign(
    {
      xaxis: axis(x),
      yaxis: axis(y),
      margin: isNarrow() ? { l: 44, r: 8, t: 34, b: 50 } : { l: 60, r: 40, t: 36, b: 62 },
      font: { family: "system-ui, sans-serif", size: isNarrow() ? 11 : 13, color: ink.ink },
      hovermode: "closest",
      modebar: { orientation: "v", bgcolor: "rgba(0,0,0,0)", color: ink.quiet },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      paper_bgcolor: ink.paper,
      plot_bgcolor: ink.paper,
    },
    more || {},
  );
}

// Both axes with one scale and one range, so that the line of equal values is at 45 degrees.
function squared(drawn, values) {
  const ends = range(values);
  const margin = 0.05 * (ends[1] - ends[0] || 1);
  const limits = [ends[0] - margin, ends[1] + margin];
  Object.assign(drawn.xaxis, { range: limits, constrain: "domain" });
  Object.assign(drawn.yaxis, { range: limits, scaleanchor: "x", scaleratio: 1, constrain: "domain" });
  return drawn;
}

function range(values) {
  const finite = values.filter(Number.isFinite);
  return finite.length ? [Math.min(...finite), Math.max(...finite)] : [0, 1];
}

function fill(select, values, texts) {
  const kept = select.value;
  select.replaceChildren(
    ...values.map((value, row) => {
      const option = document.createElement("option");
      option.value = value;
      option.textContent = texts ? texts[row] : value;
      return option;
    }),
  );
  if (values.includes(kept)) select.value = kept;
}

// In place of a figure that has nothing to show.
function say(id, text) {
  const place = element(id);
  if (place.classList.contains("js-plotly-plot")) Plotly.purge(id);
  const note = document.createElement("p");
  note.className = "empty";
  note.textContent = text;
  place.replaceChildren(note);
}

function plot(id, traces, drawn) {
  const place = element(id);
  if (!place.classList.contains("js-plotly-plot")) place.replaceChildren();
  return Plotly.react(id, traces, drawn, CONFIG);
}

function diagonal(values) {
  const ends = range(values);
  return { x: ends, y: ends, mode: "lines", line: { color: ink.quiet, dash: "dash", width: 1 }, hoverinfo: "skip", name: "equal" };
}

function drawForest() {
  const choice = element("forest-metric");
  const column = choice.value;
  const metric = DATA.metrics.find((item) => item.column === column);
  const rows = DATA.rows.filter((row) => row.scores[column]).reverse();
  if (!rows.length) return say("forest", "Undefined here: no row has a value.");
  const kind = (row) => (DATA.models.includes(row.name) ? "models" : row.name === "ceiling" ? "ceiling" : "baselines");
  const marks = { models: { color: ink.orange, symbol: "circle" }, baselines: { color: ink.blue, symbol: "circle-open" }, ceiling: { color: ink.quiet, symbol: "square" } };
  const traces = Object.keys(marks).map((name) => {
    const mine = rows.filter((row) => kind(row) === name);
    const value = (row) => row.scores[column];
    return {
      name,
      x: mine.map((row) => value(row)[0]),
      y: mine.map((row) => clean(row.name)),
      mode: "markers",
      marker: { ...marks[name], size: 10, line: { width: 2, color: marks[name].color } },
      error_x: {
        type: "data", symmetric: false, thickness: 1.5, color: marks[name].color,
        array: mine.map((row) => (value(row).length > 1 ? value(row)[2] - value(row)[0] : 0)),
        arrayminus: mine.map((row) => (value(row).length > 1 ? value(row)[0] - value(row)[1] : 0)),
      },
      hovertemplate: "<b>%{y}</b> %{x:.4g}<extra></extra>",
    };
  });
  const drawn = layout(clean(metric.title), "");
  drawn.yaxis = { ...drawn.yaxis, categoryorder: "array", categoryarray: rows.map((row) => clean(row.name)), zeroline: false };
  plot("forest", traces.filter((trace) => trace.x.length), drawn);
  const direction = { high: "the higher the better", low: "the lower the better", one: "best at 1", none: "not ranked" }[metric.best];
  element("forest-note").textContent = metric.formula + "; " + direction;
}

// 1, 2 and 5 of each power, written out: plotly's own ticks say 2 where they mean 20.
function logTicks(ends) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(ends[0])) - 1; power <= Math.log10(ends[1]) + 1; power += 1) {
    for (const step of [1, 2, 5]) ticks.push(Number((step * 10 ** power).toPrecision(3)));
  }
  return ticks;
}

function drawCurves() {
  const curves = DATA.curves;
  const names = Object.keys(curves).filter((name) => name !== "step");
  const choice = element("curve-metric");
  if (!curves.step || !curves.step.length) {
    say("curves", "No metrics.csv of a training run was found.");
    choice.parentElement.hidden = true;
    return;
  }
  fill(choice, names.filter((name) => !name.startsWith("val_") && curves[name].some((value) => value !== null)));
  const draw = () => {
    const name = choice.value;
    const traces = [name, "val_" + name]
      .filter((key) => curves[key])
      .map((key, row) => {
        const kept = curves.step.map((step, at) => [step, curves[key][at]]).filter((pair) => pair[1] !== null);
        return {
          x: kept.map((pair) => pair[0]),
          y: kept.map((pair) => pair[1]),
          name: row ? "validation" : "training",
          mode: row || kept.length < 3 ? "lines+markers" : "lines",
          line: { color: row ? ink.orange : ink.blue, dash: row ? "dash" : "solid" },
        };
      })
      .filter((trace) => trace.x.length);
    const values = traces.flatMap((trace) => trace.y);
    const drawn = layout("step", name);
    if (values.length && values.every((value) => value > 0) && name.includes("loss")) {
      const ticks = logTicks(range(values));
      Object.assign(drawn.yaxis, { type: "log", tickvals: ticks, ticktext: ticks.map((tick) => String(tick)) });
    }
    plot("curves", traces, drawn);
  };
  choice.onchange = draw;
  draw();
}

function drawPairs() {
  const choices = ["pair-metric", "pair-model", "pair-baseline"].map(element);
  const pairs = DATA.pairs;
  const shown = pairs.columns;
  const titleOf = new Map(DATA.metrics.map((metric) => [metric.column, metric.title]));
  const isFirst = !choices[0].options.length;
  fill(choices[0], shown, shown.map((column) => titleOf.get(column)));
  fill(choices[1], DATA.models);
  const others = [...DATA.baselines, ...DATA.models.slice(1)];
  fill(choices[2], others.length ? others : DATA.models);
  if (isFirst && others.includes("additive")) choices[2].value = "additive";
  const draw = () => {
    const column = choices[0].value;
    const mine = decode(pairs.scores[choices[1].value][column]);
    const theirs = decode(pairs.scores[choices[2].value][column]);
    const both = pairs.perturbation.map((name, row) => row).filter((row) => !isNaN(mine[row]) && !isNaN(theirs[row]));
    const hidden = DATA.metrics.length - shown.length;
    element("pair-count").textContent =
      both.length + " of " + pairs.perturbation.length + " pairs have a value on both axes" +
      (hidden ? "; " + hidden + " more metrics are in results.csv" : "");
    if (!both.length) return say("pairs", "Undefined here: no pair has a value on both axes.");
    const x = both.map((row) => theirs[row]);
    const y = both.map((row) => mine[row]);
    const points = {
      x,
      y,
      mode: "markers",
      name: "pairs",
      marker: { color: ink.blue, size: 10, opacity: 0.8, line: { color: ink.paper, width: 1 } },
      text: both.map((row) => clean(pairs.perturbation[row]) + "<br>" + clean(pairs.context[row]) + "<br>" + pairs.cells_real[row] + " real cells"),
      customdata: both.map((row) => [pairs.context[row], pairs.perturbation[row]]),
      hovertemplate: "<b>%{text}</b><br>x %{x:.4g}, y %{y:.4g}<extra></extra>",
    };
    const titles = [choices[2].value, choices[1].value].map((name) => clean(name) + ": " + clean(titleOf.get(column)));
    plot("pairs", [diagonal([...x, ...y]), points], squared(layout(titles[0], titles[1]), [...x, ...y])).then((place) => {
      place.removeAllListeners("plotly_click");
      place.on("plotly_click", (event) => {
        const data = event.points[0].customdata;
        if (data) choosePair(data[0], data[1]);
      });
    });
  };
  choices.forEach((choice) => (choice.onchange = draw));
  draw();
}

let entries = [];
let genes = null;
let order = { key: "observed", up: false };

function choosePair(context, perturbation) {
  const at = entries.findIndex((entry) => entry.context === context && entry.perturbation === perturbation);
  if (at < 0) return;
  element("gene-pair").value = String(at);
  drawChosen();
  element("chosen").scrollIntoView({ behavior: "smooth" });
}

function fillPairs() {
  const model = element("gene-model").value;
  entries = DATA.genes.entries.filter((entry) => entry.model === model);
  fill(
    element("gene-pair"),
    entries.map((entry, row) => String(row)),
    entries.map((entry) => entry.perturbation + " | " + entry.context),
  );
}

function chosenGenes() {
  const entry = entries[Number(element("gene-pair").value)];
  const values = {};
  for (const key of ["real", "pred", "sd", "error", "low", "high"]) if (entry[key]) values[key] = Array.from(decode(entry[key]));
  if (values.sd && !values.low) {
    values.low = values.pred.map((change, row) => change - DATA.z * values.sd[row]);
    values.high = values.pred.map((change, row) => change + DATA.z * values.sd[row]);
  }
  values.names = entry.gene ? entry.gene.map((row) => DATA.genes.names[row]) : DATA.genes.names;
  values.significant = new Set(entry.significant || []);
  return { entry, values };
}

function largest(values, count, keep) {
  return [...values.keys()].filter((row) => !keep || keep(row)).sort((a, b) => Math.abs(values[b]) - Math.abs(values[a])).slice(0, count);
}

function drawChange(values) {
  const misses = new Set(largest(values.real.map((change, row) => change - values.pred[row]), LABELLED));
  const group = (name, keep, marker, named) => {
    const rows = [...values.real.keys()].filter(keep);
    return {
      name,
      x: rows.map((row) => values.real[row]),
      y: rows.map((row) => values.pred[row]),
      text: rows.map((row) => clean(values.names[row])),
      mode: named ? "markers+text" : "markers",
      textposition: rows.map((row) => (values.real[row] > values.pred[row] ? "bottom center" : "top center")),
      textfont: { size: 11, color: ink.ink },
      cliponaxis: false,
      marker,
      hovertemplate: "<b>%{text}</b><br>observed %{x:.3f}, predicted %{y:.3f}<extra></extra>",
    };
  };
  const isMiss = (row) => misses.has(row);
  const isSignificant = (row) => values.significant.has(row);
  const traces = [
    diagonal([...values.real, ...values.pred]),
    group("not significant", (row) => !isMiss(row) && !isSignificant(row), { color: ink.quiet, size: 5, opacity: 0.5 }, false),
    group("significant", (row) => !isMiss(row) && isSignificant(row), { color: ink.blue, size: 7, opacity: 0.75 }, false),
    group("worst misses", isMiss, { color: ink.orange, size: 9, symbol: "triangle-up" }, true),
  ];
  const drawn = layout("observed change of mean log1p expression", "predicted change");
  plot("change", traces.filter((trace) => trace.x.length), squared(drawn, [...values.real, ...values.pred]));
}

function drawIntervals(values) {
  const reference = values.real || values.pred;
  const rows = largest(reference, SHOWN_GENES).reverse();
  const names = rows.map((row) => clean(values.names[row]));
  const bar = (color, high, low) => ({ type: "data", symmetric: false, array: high, arrayminus: low, color, thickness: 2, width: 3 });
  const traces = [
    {
      name: values.low ? "predicted, 90 % interval" : "predicted (no interval)",
      x: rows.map((row) => values.pred[row]),
      y: names,
      mode: "markers",
      marker: { color: ink.orange, symbol: "x", size: 8 },
      error_x: values.low && bar(ink.orange, rows.map((row) => values.high[row] - values.pred[row]), rows.map((row) => values.pred[row] - values.low[row])),
      hovertemplate: "<b>%{y}</b> predicted %{x:.3f}<extra></extra>",
    },
  ];
  if (values.real) {
    const reach = values.error && rows.map((row) => DATA.z * values.error[row]);
    traces.push({
      name: "observed",
      x: rows.map((row) => values.real[row]),
      y: names,
      mode: "markers",
      marker: { color: ink.blue, symbol: "circle", size: 8 },
      error_x: reach && bar(ink.blue, reach, reach),
      hovertemplate: "<b>%{y}</b> observed %{x:.3f}<extra></extra>",
    });
  }
  const drawn = layout("change of mean log1p expression", "");
  drawn.yaxis = { ...drawn.yaxis, type: "category", zeroline: false, dtick: 1, tickfont: { size: 11 } };
  plot("intervals", traces, drawn);
}

// What the table of genes shows: heading, value of a row, digits.
function columnsOf(values) {
  const columns = [["gene", (row) => values.names[row], null]];
  if (values.real) columns.push(["observed", (row) => values.real[row], 3]);
  columns.push(["predicted", (row) => values.pred[row], 3]);
  if (values.low) columns.push(["low", (row) => values.low[row], 3], ["high", (row) => values.high[row], 3]);
  if (values.real) {
    columns.push(["miss", (row) => values.pred[row] - values.real[row], 3]);
    columns.push(["significant", (row) => (values.significant.has(row) ? "yes" : "no"), null]);
    columns.push(["wrong sign", (row) => (values.pred[row] * values.real[row] < 0 ? "yes" : "no"), null]);
  }
  return columns;
}

function sortedRows(values, columns) {
  const text = element("gene-find").value.toLowerCase().split(/[\s,;]+/).filter(Boolean);
  const rows = [...values.pred.keys()].filter((row) => !text.length || text.some((part) => values.names[row].toLowerCase().includes(part)));
  const column = columns.find((item) => item[0] === order.key) || columns[1];
  const key = rows.map((row) => column[1](row));
  const place = new Map(rows.map((row, at) => [row, at]));
  const size = (value) => (typeof value === "number" ? Math.abs(value) : value);
  const compare = (a, b) => {
    const [left, right] = [size(key[place.get(a)]), size(key[place.get(b)])];
    return left < right ? -1 : left > right ? 1 : 0;
  };
  return rows.sort((a, b) => (order.up ? compare(a, b) : compare(b, a)));
}

function fillTable() {
  const columns = columnsOf(genes.values);
  const heads = document.createElement("tr");
  for (const [name] of columns) {
    const head = document.createElement("th");
    head.textContent = name + (order.key === name ? (order.up ? " \u2191" : " \u2193") : "");
    head.dataset.key = name;
    head.onclick = () => {
      order = { key: name, up: order.key === name ? !order.up : name === "gene" };
      fillTable();
    };
    heads.append(head);
  }
  element("gene-heads").replaceChildren(heads);
  const rows = sortedRows(genes.values, columns);
  const lines = rows.slice(0, TABLE_ROWS).map((row) => {
    const line = document.createElement("tr");
    columns.forEach(([name, value, digits], at) => {
      const cell = document.createElement(at ? "td" : "th");
      const found = value(row);
      cell.textContent = digits === null ? found : found.toFixed(digits);
      if (name === "wrong sign" && found === "yes" && genes.values.significant.has(row)) cell.className = "miss";
      line.append(cell);
    });
    return line;
  });
  element("top-genes").replaceChildren(...lines);
  const more = rows.length > TABLE_ROWS ? "; the first " + TABLE_ROWS + " are listed, the CSV has all" : "";
  element("gene-shown").textContent = rows.length + " of " + genes.values.pred.length + " genes" + more;
}

function saveTable() {
  const columns = columnsOf(genes.values);
  const quote = (text) => (/[",\n]/.test(text) ? '"' + String(text).replace(/"/g, '""') + '"' : String(text));
  const lines = [columns.map((column) => column[0]).join(",")];
  for (const row of sortedRows(genes.values, columns)) lines.push(columns.map((column) => quote(column[1](row))).join(","));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
  link.download = [genes.entry.model, genes.entry.perturbation, genes.entry.context].filter(Boolean).join("_").replace(/[^\w.+-]+/g, "-") + ".csv";
  link.click();
  URL.revokeObjectURL(link.href);
}

function drawClouds(entry) {
  if (!DATA.clouds.length) {
    say("clouds", "The predicted and real h5ad files were not found: --pred and --real say where they are.");
    element("cloud-method").parentElement.hidden = true;
    return;
  }
  const method = DATA.clouds.find((item) => item.method === element("cloud-method").value);
  const here = method.clouds.filter(
    (cloud) =>
      cloud.context === entry.context &&
      (cloud.kind === "control" || cloud.perturbation === entry.perturbation) &&
      (!cloud.model || cloud.model === entry.model),
  );
  if (!here.length) return say("clouds", "Only the first contexts, in the order of their names, are drawn; this one is not among them.");
  if (!here.some((cloud) => cloud.kind === "predicted")) return say("clouds", "The predicted cells of this model were not found.");
  const traces = here.map((cloud) => {
    const mark = look[cloud.kind];
    return {
      x: Array.from(decode(cloud.x)),
      y: Array.from(decode(cloud.y)),
      name: mark.name,
      mode: "markers",
      marker: { color: mark.color, symbol: mark.symbol, size: 7, opacity: 0.75, line: { width: 1.5, color: mark.color } },
      hovertemplate: mark.name + "<extra></extra>",
    };
  });
  const share = method.explained[entry.context];
  const titles = ["1", "2"].map((axis, row) => method.method + " " + axis + (share ? " (" + (100 * share[row]).toFixed(1) + " % of real variance)" : ""));
  plot("clouds", traces, layout(titles[0], titles[1]));
}

function drawChosen() {
  if (!entries.length) {
    for (const id of ["change", "intervals", "clouds"]) if (element(id)) say(id, "Undefined here: no genes are in the results.");
    return;
  }
  genes = chosenGenes();
  if (genes.values.real) drawChange(genes.values);
  drawIntervals(genes.values);
  fillTable();
  if (element("clouds")) drawClouds(genes.entry);
  const shown = DATA.genes.entries.filter((entry) => entry.model === genes.entry.model).length;
  const all = DATA.genes.pairs;
  element("gene-count").textContent = shown < all ? "the " + shown + " strongest of " + all + " pairs can be chosen" : "strongest effect first";
}

function drawEffects() {
  const model = element("gene-model").value;
  const mine = DATA.effects.filter((item) => item.model === model);
  const sides = [["real", look.observed], ["pred", look.predicted]];
  const title = "size of the change";
  if (mine.length < ENOUGH_FOR_HISTOGRAM) {
    const traces = sides.map(([key, mark]) => ({
      x: mine.map((item) => item[key]),
      y: mine.map(() => mark.name),
      text: mine.map((item) => clean(item.perturbation) + ", " + clean(item.context)),
      name: mark.name,
      mode: "markers",
      marker: { color: mark.color, symbol: mark.symbol, size: 10, line: { width: 1.5, color: mark.color } },
      hovertemplate: "<b>%{text}</b> %{x:.3f}<extra></extra>",
    }));
    const drawn = layout(title, "", { showlegend: false });
    drawn.xaxis.rangemode = "tozero";
    drawn.yaxis.range = [-0.7, 1.7];
    plot("effects", traces, drawn);
  } else {
    const ends = range(mine.flatMap((item) => [item.real, item.pred]));
    const bins = { start: ends[0], end: ends[1] + 1e-9, size: (ends[1] - ends[0]) / 30 || 1 };
    const traces = sides.map(([key, mark]) => ({
      x: mine.map((item) => item[key]), name: mark.name, type: "histogram", autobinx: false, xbins: bins, opacity: 0.6, marker: { color: mark.color },
    }));
    plot("effects", traces, layout(title, "pairs", { barmode: "overlay" }));
  }
  const points = {
    x: mine.map((item) => item.real),
    y: mine.map((item) => item.pred),
    text: mine.map((item) => clean(item.perturbation) + "<br>" + clean(item.context)),
    name: "pairs",
    mode: "markers",
    marker: { color: ink.orange, size: 9, opacity: 0.75 },
    hovertemplate: "<b>%{text}</b><br>observed %{x:.3f}, predicted %{y:.3f}<extra></extra>",
  };
  const values = [0, ...points.x, ...points.y];
  plot("effect-sizes", [diagonal(values), points], squared(layout("observed size", "predicted size"), values));
}

function drawAll() {
  readColours();
  if (element("curves")) drawCurves();
  if (element("forest")) {
    drawForest();
    drawPairs();
  }
  if (element("gene-pair")) drawChosen();
  if (element("effects")) drawEffects();
}

function startGenes() {
  fill(element("gene-model"), DATA.models);
  fillPairs();
  element("gene-model").onchange = () => {
    fillPairs();
    drawChosen();
    if (element("effects")) drawEffects();
  };
  element("gene-pair").onchange = drawChosen;
  element("gene-find").oninput = fillTable;
  element("gene-csv").onclick = saveTable;
}

function startScores() {
  const withValues = DATA.metrics.filter((metric) => DATA.rows.some((row) => row.scores[metric.column]));
  fill(element("forest-metric"), withValues.map((metric) => metric.column), withValues.map((metric) => metric.title));
  element("forest-metric").onchange = drawForest;
  fill(element("cloud-method"), DATA.clouds.map((item) => item.method));
  element("cloud-method").onchange = drawChosen;
}

function start() {
  readColours();
  if (element("forest")) startScores();
  if (element("gene-pair")) startGenes();
  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  matchMedia("print").addEventListener("change", drawAll);
  document.body.dataset.ready = "yes";
}

start();

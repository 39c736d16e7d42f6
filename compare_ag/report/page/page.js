
"use strict";
// Draws the charts from the page's own data, with controls that a keyboard reaches, and hands out the data as files.
// Strangers' text reaches the page only as textContent, or escaped (plotly reads a little HTML in its labels).
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const packed = JSON.parse(document.getElementById("arrays").textContent);

  // --- numbers ---------------------------------------------------------------------------------------------------

  const READERS = { f8: [8, "getFloat64"], f4: [4, "getFloat32"], i4: [4, "getInt32"] };
  const unpacked = new Map();
  function array(index) {
    if (!unpacked.has(index)) {
      const { type, data: text } = packed[index];
      const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
      const view = new DataView(bytes.buffer);
      const [size, read] = READERS[type];
      unpacked.set(index, Array.from({ length: bytes.length / size }, (_, i) => view[read](i * size, true)));
    }
    return unpacked.get(index);
  }
  const values = (given) => (Array.isArray(given) ? given : array(given.array));
  const finite = (list) => list.map((v) => (Number.isFinite(v) ? v : null));
  const safe = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const cut = (text) => (text.length > 28 ? text.slice(0, 27) + "…" : text);

  // --- looks -----------------------------------------------------------------------------------------------------

  // Six hues that colour-blind readers tell apart, each at least 3:1 against its paper; dash and marker differ too.
  const LIGHT = {
    ink: "#1b1f24", soft: "#575f69", grid: "#e6e6e1", axis: "#8b8f94", paper: "#fdfdfc", band: "rgba(110,118,128,0.20)",
    hues: ["#0072B2", "#C24E00", "#00795A", "#A2417F", "#806000", "#3F6FD8"], parts: ["#0072B2", "#C24E00", "#00795A", "#A2417F"],
  };
  const DARK = {
    ink: "#e6e8ea", soft: "#a5adb6", grid: "#2b3138", axis: "#78818b", paper: "#14171b", band: "rgba(165,173,182,0.25)",
    hues: ["#56B4E9", "#FF9A5C", "#3FCFA5", "#E79CC9", "#EBC553", "#A9B8FF"], parts: ["#56B4E9", "#FF9A5C", "#3FCFA5", "#E79CC9"],
  };
  const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];
  const MARKERS = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x"];
  const PATTERNS = ["", "/", ".", "x"];
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  let printing = false;
  const theme = () => (scheme.matches && !printing ? DARK : LIGHT);

  function look(of) {
    const t = theme();
    if (of === "reference") return { colour: t.ink, dash: "solid", marker: "line-ew-open" };
    if (of === "bound") return { colour: t.ink, dash: "longdashdot", marker: "line-ew-open" };
    if (of === "band") return { colour: t.band, dash: "solid", marker: "square" };
    if (String(of).startsWith("part")) return { colour: t.parts[Number(of.slice(4)) % 4], pattern: PATTERNS[Number(of.slice(4)) % 4] };
    return { colour: t.hues[of % t.hues.length], dash: DASHES[of % DASHES.length], marker: MARKERS[of % MARKERS.length] };
  }

  // --- a series as plotly's traces -------------------------------------------------------------------------------

  function traces(chart) {
    const made = [];
    chart.spec.series.forEach((one, order) => {
      const style = look(one.look);
      const shown = chart.hidden.has(one.name) ? false : true;
      const base = { type: "scatter", name: safe(cut(one.name)), visible: shown, showlegend: false, meta: order };
      if (one.draw === "band") {
        const x = values(one.x), low = finite(values(one.low)), high = finite(values(one.high));
        const floor = chart.y === "log" ? Math.min(...high.filter((v) => v > 0)) / 10 : -Infinity;
        const edge = { ...base, x, mode: "lines", line: { width: 0 }, hoverinfo: "skip" };
        made.push({ ...edge, y: low.map((v) => (v === null ? null : Math.max(v, floor))) });
        made.push({ ...edge, y: high, fill: "tonexty", fillcolor: style.colour });
      } else if (one.draw === "line") {
        const x = values(one.x), y = finite(values(one.y)), backend = typeof one.look === "number";
        const width = one.look === "reference" ? 7 : one.look === "bound" ? 2.25 : 2;
        const opacity = one.look === "reference" ? 0.28 : 1;
        made.push({ ...base, x, y, mode: "lines", opacity, line: { color: style.colour, width, dash: style.dash }, connectgaps: false });
        if (backend) {  // a few marks, apart from the others', tell courses that lie on each other
          const count = 9, at = [];
          const shift = (one.look % 6) / 6;
          const [from, to] = [Math.max(x[0], chart.x === "log" ? 1 : x[0]), x[x.length - 1]];
          for (let i = 0; i < count; i++) {
            const u = (i + shift) / count;
            const target = chart.x === "log" ? from * (to / from) ** u : from + (to - from) * u;
            const place = x.findIndex((v) => v >= target);
            if (place >= 0) at.push(place);
          }
          made.push({ ...base, x: at.map((i) => x[i]), y: at.map((i) => y[i]), mode: "markers", hoverinfo: "skip",
            marker: { symbol: style.marker, size: 8, color: style.colour, line: { color: theme().paper, width: 1 } } });
        }
      } else if (one.draw === "cloud") {
        made.push({ ...base, x: values(one.x), y: finite(values(one.y)), mode: "lines", opacity: Math.min(0.3, 1 / chart.spec.series.length), line: { color: style.colour, width: 1 }, hoverinfo: "skip" });
      } else if (one.draw === "level") {
        made.push({ ...base, x: one.x, y: one.y, mode: "lines", line: { color: style.colour, width: 1.5, dash: "dot" }, hoverinfo: "name+y" });
      } else if (one.draw === "dots") {
        const reference = one.look === "reference";
        const symbol = reference ? "line-ew-open" : style.marker + "-open";
        made.push({ ...base, x: values(one.x), y: finite(values(one.y)), mode: "markers",
          marker: { symbol, size: reference ? 16 : 7 + 2 * (one.look % 4), color: style.colour, line: { width: reference ? 2.5 : 1.6, color: style.colour } } });
      } else if (one.draw === "ticks") {
        made.push({ ...base, x: values(one.x), y: values(one.y), mode: "markers", hoverinfo: "x",
          marker: { symbol: "line-ns-open", size: 6, color: style.colour, opacity: 0.5, line: { width: 1, color: style.colour } } });
      } else if (one.draw === "small") {
        made.push({ ...base, x: one.x, y: one.y, mode: "markers", hoverinfo: "x",
          marker: { symbol: style.marker, size: 6, color: theme().paper, line: { width: 1.5, color: style.colour } } });
      } else if (one.draw === "point") {
        const error = one.error ? { type: "data", symmetric: false, arrayminus: [one.error[0]], array: [one.error[1]], color: style.colour, thickness: 2, width: 6 } : undefined;
        made.push({ ...base, x: one.x, y: one.y, mode: "markers+text", error_x: error, text: [safe(cut(one.label))], textposition: chart.spec.levels ? "bottom center" : "top center",
          textfont: { color: theme().ink, size: 12 }, cliponaxis: false, hoverinfo: "name+x",
          marker: { symbol: style.marker, size: 11, color: style.colour, line: { color: theme().paper, width: 1 } } });
      } else if (one.draw === "bar") {
        made.push({ ...base, type: "bar", orientation: "h", x: one.x, y: one.y, width: 0.58, hoverinfo: "name+x",
          marker: { color: style.colour, line: { color: theme().paper, width: 1 }, pattern: { shape: style.pattern, bgcolor: style.colour, fgcolor: theme().paper, size: 7, solidity: 0.18 } } });
      }
    });
    return made;
  }

  // --- layout ----------------------------------------------------------------------------------------------------

  const UNIT = { s: { tickformat: "~s", ticksuffix: "s" }, B: { tickformat: "~s", ticksuffix: "B" }, "": {} };

  const PREFIXES = [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"]];
  const SUPER = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
  const short = (v) => String(Number(v.toPrecision(6)));

  function written(v, unit) {
    if (unit) {
      const [factor, prefix] = PREFIXES.find(([f]) => v >= f * 0.9999) || PREFIXES[PREFIXES.length - 1];
      return `${short(v / factor)} ${prefix}${unit}`;
    }
    const power = Math.round(Math.log10(v));
    if (v >= 0.001 && v < 1e5) return short(v);
    const factor = v / 10 ** power;
    const raised = "10" + String(power).replace(/./g, (c) => SUPER[c]);
    return Math.abs(factor - 1) < 1e-9 ? raised : `${short(v / 10 ** Math.floor(Math.log10(v)))}·10${String(Math.floor(Math.log10(v))).replace(/./g, (c) => SUPER[c])}`;
  }

  // Round numbers between two powers of ten: decades where there are enough, else 1-2-5, else evenly spaced ones.
  function ticks(low, high, most) {
    const inside = (list) => list.filter((v) => v >= 10 ** low * 0.999 && v <= 10 ** high * 1.001);
    const decades = (every, factors) => {
      const made = [];
      for (let p = Math.floor(low); p <= Math.ceil(high); p++) if (p % every === 0) for (const f of factors) made.push(f * 10 ** p);
      return inside(made);
    };
    if (high - low > most) return decades(Math.ceil((high - low) / most), [1]);
    for (const factors of [[1, 2, 5], [1, 3], [1]]) {
      const made = decades(1, factors);
      if (made.length >= 3 && made.length <= most) return made;
    }
    const span = 10 ** high - 10 ** low, step = 10 ** Math.floor(Math.log10(span));
    for (const fine of [step, step / 2, step / 5, step / 10]) {
      const made = [];
      for (let i = Math.ceil(10 ** low / fine); i * fine <= 10 ** high; i++) made.push(i * fine);
      if (made.length >= 3) return made.filter((_, i) => i % Math.ceil(made.length / most) === 0);
    }
    return decades(1, [1, 2, 5]);
  }

  function logTicks(chart) {
    const change = {};
    for (const which of ["x", "y"]) {
      const full = chart.node._fullLayout[which + "axis"];
      if (full.type !== "log") continue;
      const at = ticks(full.range[0], full.range[1], which === "x" ? Math.max(3, Math.floor(full._length / 75)) : Math.max(3, Math.floor(full._length / 38)));
      change[which + "axis.tickmode"] = "array";
      change[which + "axis.tickvals"] = at;
      change[which + "axis.ticktext"] = at.map((v) => written(v, chart.spec[which].unit));
    }
    return Object.keys(change).length ? Plotly.relayout(chart.node, change) : undefined;
  }

  function axis(chart, which) {
    const t = theme(), spec = chart.spec[which];
    const kind = chart[which];
    const made = { type: kind, title: { text: safe(spec.title), font: { size: 13, color: t.soft }, standoff: 8 }, gridcolor: t.grid, linecolor: t.axis,
      tickfont: { size: 12, color: t.soft }, zeroline: false, showline: which === "x", ticks: "outside", tickcolor: t.axis, ticklen: 4,
      automargin: true, exponentformat: "power", hoverformat: spec.unit ? ".4~s" : ".6~g", ...UNIT[spec.unit] };
    if (kind === "linear" && !spec.unit && which === "x" && chart.spec.series.some((one) => one.draw === "line")) Object.assign(made, { exponentformat: "none", separatethousands: true, rangemode: "nonnegative" });
    if (spec.rows) {
      const narrow = innerWidth < 560;
      const names = spec.rows.map((name) => (name.length > (narrow ? 14 : 28) ? name.slice(0, narrow ? 13 : 27) + "…" : name));
      Object.assign(made, { tickvals: spec.rows.map((_, i) => i), ticktext: names.map(safe), range: [spec.rows.length - 0.45, -0.6],
        showgrid: false, ticks: "", fixedrange: true, title: undefined, tickfont: { size: 13, color: t.ink } });
    }
    if (spec.range) made.range = spec.range;
    const zoomed = chart.range[which];
    if (zoomed) made.range = zoomed;
    else if (!spec.rows && !spec.range) made.autorange = true;
    if (!chart.spec.zoom) made.fixedrange = true;
    return made;
  }

  function layout(chart) {
    const t = theme(), spec = chart.spec;
    const shapes = [];
    for (const band of spec.bands || []) shapes.push({ type: "rect", xref: "x", yref: "paper", x0: band.from, x1: band.to, y0: 0, y1: 1, fillcolor: t.band, line: { width: 0 }, layer: "below" });
    for (const line of spec.lines || []) shapes.push({ type: "line", xref: "x", yref: "paper", x0: line.at, x1: line.at, y0: 0, y1: 1, line: { color: t.soft, width: 1, dash: line.dash }, layer: "below" });
    const annotations = [];
    for (const level of spec.levels || []) {
      shapes.push({ type: "line", xref: "paper", yref: "y", x0: 0, x1: 1, y0: level.at, y1: level.at, line: { color: t.soft, width: 1, dash: "dash" }, layer: "below" });
      annotations.push({ xref: "paper", yref: "y", x: 1, y: level.at, text: safe(level.label), showarrow: false, xanchor: "right", yanchor: "bottom", font: { size: 12, color: t.soft } });
    }
    return { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 8, r: 24, t: 16, b: 8 }, height: spec.height,
      width: printing ? 660 : undefined, autosize: !printing, barmode: "stack", showlegend: false, dragmode: spec.zoom ? "zoom" : false, hovermode: "closest",
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: t.ink },
      hoverlabel: { bgcolor: t.paper, bordercolor: t.axis, font: { color: t.ink, size: 12 }, namelength: 32 },
      xaxis: axis(chart, "x"), yaxis: axis(chart, "y"), shapes, annotations };
  }

  const CONFIG = { displayModeBar: false, responsive: true, showTips: false, doubleClick: "reset", scrollZoom: false };
  const charts = new Map();

  async function draw(chart) {
    chart.busy = true;
    await Plotly.react(chart.node, traces(chart), layout(chart), CONFIG);
    await logTicks(chart);
    chart.busy = false;
  }

  // --- controls --------------------------------------------------------------------------------------------------

  const say = (text) => { document.getElementById("status").textContent = text; };

  function element(name, attributes, ...inside) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...inside);
    return made;
  }

  function button(text, label, act) {
    const made = element("button", { type: "button", "aria-label": label }, text);
    made.addEventListener("click", act);
    return made;
  }

  function group(label, words, ...buttons) {
    const made = element("div", { class: "group", role: "group", "aria-label": label });
    if (words) made.append(element("span", { "aria-hidden": "true" }, words));
    made.append(...buttons);
    return made;
  }

  function scale(chart, which) {
    const kinds = ["linear", "log"];
    const title = chart.spec.title;
    const buttons = kinds.map((kind) => button(kind, `${kind} ${which === "x" ? "horizontal" : "vertical"} axis: ${title}`, () => {
      chart[which] = kind;
      chart.range[which] = null;
      mark();
      draw(chart);
      say(`${title}: ${which} axis ${kind}`);
    }));
    const mark = () => buttons.forEach((one, i) => one.setAttribute("aria-pressed", String(kinds[i] === chart[which])));
    buttons.forEach((one) => { one.dataset.axis = which; one.dataset.kind = one.textContent; });
    mark();
    return group(`Scale of the ${which} axis: ${title}`, which, ...buttons);
  }

  function zoom(chart) {
    const title = chart.spec.title;
    const move = (change) => () => {
      for (const which of chart.spec.y.rows ? ["x"] : ["x", "y"]) {
        const [low, high] = chart.node._fullLayout[which + "axis"].range;
        const next = change(low, high, which);
        if (next) chart.range[which] = next;
      }
      draw(chart);
    };
    const around = (factor) => (low, high) => { const c = (low + high) / 2, h = ((high - low) / 2) * factor; return [c - h, c + h]; };
    const along = (share) => (low, high, which) => (which === "x" ? [low + share * (high - low), high + share * (high - low)] : null);
    const up = (share) => (low, high, which) => (which === "y" ? [low + share * (high - low), high + share * (high - low)] : null);
    const made = [
      button("+", `Zoom in: ${title}`, move(around(0.5))),
      button("−", `Zoom out: ${title}`, move(around(2))),
      button("←", `Move left: ${title}`, move(along(-0.25))),
      button("→", `Move right: ${title}`, move(along(0.25))),
    ];
    if (!chart.spec.y.rows) made.push(button("↑", `Move up: ${title}`, move(up(0.25))), button("↓", `Move down: ${title}`, move(up(-0.25))));
    made.push(button("reset", `Reset the view: ${title}`, () => { chart.range = { x: null, y: null }; draw(chart); say(`${title}: whole view`); }));
    ["in", "out", "left", "right", ...(chart.spec.y.rows ? [] : ["up", "down"]), "reset"].forEach((word, i) => { made[i].dataset.zoom = word; });
    return group(`Zoom: ${title}`, "zoom", ...made);
  }

  const SVG = "http://www.w3.org/2000/svg";
  const STROKES = { solid: "", dash: "7 4", dot: "2 3", dashdot: "8 3 2 3", longdash: "12 4", longdashdot: "10 3 2 3" };
  const SHAPES = {
    circle: "M17 6a4 4 0 1 0 .01 0z", square: "M13.5 6.5h7v7h-7z", "triangle-up": "M17 5.5l4.5 8h-9z", diamond: "M17 5l5 5-5 5-5-5z",
    "triangle-down": "M17 14.500l4.500-8h-9z", cross: "M15.500 5.500h3v3h3v3h-3v3h-3v-3h-3v-3h3z", x: "M13 7.500l1.500-1.500 2.500 2.500 2.500-2.500 1.500 1.500-2.500 2.500 2.500 2.500-1.500 1.500-2.500-2.500-2.500 2.500-1.500-1.500 2.500-2.500z",
  };

  function swatch(one) {
    const style = look(one.look);
    const svg = document.createElementNS(SVG, "svg");
    for (const [key, value] of Object.entries({ width: 34, height: 20, viewBox: "0 0 34 20", "aria-hidden": "true", focusable: "false" })) svg.setAttribute(key, value);
    const add = (name, attributes) => {
      const node = document.createElementNS(SVG, name);
      for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
      svg.append(node);
    };
    if (one.draw === "bar") {
      add("rect", { x: 8, y: 4, width: 18, height: 12, fill: style.colour });
      const strokes = { "/": ["M8 16L20 4", "M14 16L26 4"], ".": ["M12 8h1M17 8h1M22 8h1M12 12h1M17 12h1M22 12h1"], x: ["M8 16L20 4M14 16L26 4", "M8 4L20 16M14 4L26 16"] };
      for (const path of strokes[style.pattern] || []) add("path", { d: path, stroke: theme().paper, "stroke-width": 1.4 });
    } else if (one.draw === "band") {
      add("rect", { x: 2, y: 4, width: 30, height: 12, fill: style.colour });
    } else {
      const width = one.look === "reference" ? 6 : 2;
      if (one.draw === "line") add("path", { d: "M1 10H33", stroke: style.colour, "stroke-width": width, "stroke-opacity": one.look === "reference" ? 0.35 : 1, "stroke-dasharray": STROKES[style.dash], fill: "none" });
      else if (one.look === "reference") add("path", { d: "M9 10H25", stroke: style.colour, "stroke-width": 2.5 });
      if (SHAPES[style.marker]) add("path", { d: SHAPES[style.marker], fill: one.draw === "dots" ? "none" : style.colour, stroke: style.colour, "stroke-width": 1.2 });
    }
    return svg;
  }

  function legend(chart) {
    const box = group(`Legend: ${chart.spec.title}`, "");
    box.classList.add("legend");
    for (const one of chart.spec.series.filter((s) => s.draw !== "level" && s.draw !== "cloud" && s.legend !== false)) {
      const made = element("button", { type: "button", "aria-pressed": String(!chart.hidden.has(one.name)), title: one.name }, swatch(one), cut(one.name));
      made.addEventListener("click", () => {
        if (!chart.hidden.delete(one.name)) chart.hidden.add(one.name);
        made.setAttribute("aria-pressed", String(!chart.hidden.has(one.name)));
        draw(chart);
      });
      box.append(made);
    }
    return box;
  }

  function controls(chart) {
    const box = chart.box;
    const parts = [];
    for (const which of ["x", "y"]) if (chart.spec[which].toggle) parts.push(scale(chart, which));
    if (chart.spec.zoom) parts.push(zoom(chart));
    if (chart.spec.legend !== false && chart.spec.series.length > 1) parts.push(legend(chart));
    box.replaceChildren(...parts);
  }

  for (const box of document.querySelectorAll(".controls")) {
    const id = box.dataset.chart, spec = data.charts[id];
    const chart = { spec, box, node: document.getElementById("plot-" + id), x: spec.x.type, y: spec.y.type, range: { x: null, y: null }, hidden: new Set() };
    charts.set(id, chart);
    controls(chart);
    draw(chart).then(() => {
      chart.node.on("plotly_relayout", (change) => {
        if (chart.busy) return;
        for (const which of ["x", "y"]) {
          if (change[`${which}axis.range[0]`] !== undefined) chart.range[which] = [change[`${which}axis.range[0]`], change[`${which}axis.range[1]`]];
          else if (change[`${which}axis.autorange`]) chart.range[which] = null;
        }
        if (Object.keys(change).some((key) => key.includes("axis"))) draw(chart);
      });
      chart.node.dataset.drawn = "true";
    });
  }

  function redraw() {
    for (const chart of charts.values()) {
      const old = chart.box.querySelector(".legend");
      if (old) old.replaceWith(legend(chart));
      draw(chart);
    }
  }
  scheme.addEventListener("change", redraw);
  addEventListener("beforeprint", () => { printing = true; redraw(); });
  addEventListener("afterprint", () => { printing = false; redraw(); });

  // --- downloads -------------------------------------------------------------------------------------------------

  const word = (v) => (Number.isNaN(v) ? "nan" : v === Infinity ? "inf" : v === -Infinity ? "-inf" : String(v));

  function text(offer) {
    if (offer.text !== undefined) return offer.text;
    const lines = [offer.columns.join(",")];
    for (const part of offer.parts) {
      const columns = part.arrays.map(array);
      for (let i = 0; i < columns[0].length; i++) lines.push([part.fixed, ...columns.map((c) => word(c[i]))].join(","));
    }
    return lines.join("\r\n") + "\r\n";
  }

  for (const one of document.querySelectorAll("[data-download]")) {
    one.addEventListener("click", () => {
      const offer = data.downloads[Number(one.dataset.download)];
      const url = URL.createObjectURL(new Blob([text(offer)], { type: offer.type }));
      const link = element("a", { href: url, download: offer.name });
      document.body.append(link);
      link.click();
      link.remove();
      setTimeout(() => URL.revokeObjectURL(url), 10000);
      say(`${offer.name} is being saved`);
    });
  }
})();

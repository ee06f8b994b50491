/**
 * Charts as SVG: no script, no fonts but the reader's own, colours for light and
 * for dark pages.
 */

/** The figures of one colour; `undefined` where there is none. */
export interface Series {
  readonly title: string;
  readonly values: readonly (number | undefined)[];
}

const WIDTH = 760;
const LIGHT = ["#0969da", "#bc4c00", "#1a7f37", "#8250df", "#8c959f"];
const DARK = ["#58a6ff", "#f0883e", "#3fb950", "#bc8cff", "#8b949e"];

function colours(of: readonly string[]): string {
  return of.map((colour, i) =>
    `.c${i} { fill: ${colour}; } .l${i} { stroke: ${colour}; }`
  ).join(" ");
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

function text(
  x: number,
  y: number,
  content: string,
  attributes = "",
): string {
  return `<text x="${round(x)}" y="${round(y)}" ${attributes}>${
    escape(content)
  }</text>`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function page(title: string, height: number, body: string[]): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img">
<title>${escape(title)}</title>
<style>
svg { color-scheme: light dark; }
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.title { font-weight: 600; font-size: 14px; }
.page { fill: #ffffff; } .grid { stroke: #d0d7de; }
.line { fill: none; stroke-width: 2; } ${colours(LIGHT)}
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; } .page { fill: #0d1117; } .grid { stroke: #30363d; }
${colours(DARK)}
}
</style>
<rect class="page" width="${WIDTH}" height="${height}" rx="6"/>
${text(16, 26, title, 'class="title"')}
${body.join("\n")}
</svg>
`;
}

function legend(series: readonly Series[]): string[] {
  let x = 16;
  return series.flatMap(({ title }, i) => {
    const at = x;
    x += 36 + title.length * 7;
    return [
      `<rect class="c${i}" x="${round(at)}" y="38" width="10" height="10"/>`,
      text(at + 15, 47, title),
    ];
  });
}

/** Horizontal bars in groups, with a line at 1. */
export function barChart(
  title: string,
  groups: readonly string[],
  series: readonly Series[],
): string {
  const left = 150;
  const right = WIDTH - 50;
  const bar = 12;
  const group = bar * series.length + 14;
  const top = 64;
  const bottom = top + group * groups.length;
  const all = series.flatMap(({ values }) => values);
  const max = Math.max(1, ...all.map((value) => value ?? 0));
  const at = (value: number): number => left + value / max * (right - left);
  const body = legend(series);
  const one = round(at(1));
  body.push(
    `<path class="grid" d="M${left} ${top - 4}V${bottom} M${one} ${
      top - 4
    }V${bottom}"/>`,
    text(one, bottom + 14, "1", 'text-anchor="middle"'),
  );
  for (const [i, label] of groups.entries()) {
    const y = top + i * group;
    const middle = y + bar * series.length / 2 + 4;
    body.push(text(left - 10, middle, label, 'text-anchor="end"'));
    for (const [j, { values }] of series.entries()) {
      const value = values[i];
      if (value === undefined) continue;
      const width = round(at(value) - left);
      const barY = y + j * bar;
      body.push(
        `<rect class="c${j}" x="${left}" y="${barY}" width="${width}" height="${
          bar - 2
        }"/>`,
        text(at(value) + 5, barY + 9, value.toFixed(2)),
      );
    }
  }
  return page(title, bottom + 28, body);
}

/** Lines over the same steps, on a logarithmic scale where `isLog`. */
export function lineChart(
  title: string,
  steps: readonly string[],
  series: readonly Series[],
  { unit, isLog = true }: { unit: string; isLog?: boolean },
): string {
  const [left, right, top, bottom] = [80, WIDTH - 40, 84, 320];
  const all = series.flatMap(({ values }) => values)
    .filter((value) => value !== undefined);
  const scale = isLog ? Math.log10 : (value: number): number => value;
  const min = isLog ? Math.floor(Math.log10(Math.min(...all))) : 0;
  const max = isLog
    ? Math.max(min + 1, Math.ceil(Math.log10(Math.max(...all))))
    : ticksUpTo(Math.max(...all)).at(-1)!;
  const x = (i: number): number =>
    left + (right - left) * i / Math.max(1, steps.length - 1);
  const y = (value: number): number =>
    bottom - (bottom - top) * (scale(value) - min) / (max - min);
  const body = [
    ...legend(series),
    text(left - 8, 70, unit, 'text-anchor="end"'),
  ];
  const ticks = isLog
    ? Array.from({ length: max - min + 1 }, (_, i) => 10 ** (min + i))
    : ticksUpTo(max);
  for (const tick of ticks) {
    const at = round(y(tick));
    body.push(
      `<path class="grid" d="M${left} ${at}H${right}"/>`,
      text(left - 8, at + 4, shorten(tick), 'text-anchor="end"'),
    );
  }
  for (const [i, step] of steps.entries()) {
    body.push(text(x(i), bottom + 20, step, 'text-anchor="middle"'));
  }
  for (const [j, { values }] of series.entries()) {
    const points = values.flatMap((value, i) =>
      value === undefined ? [] : [`${round(x(i))},${round(y(value))}`]
    );
    body.push(`<polyline class="line l${j}" points="${points.join(" ")}"/>`);
    for (const point of points) {
      const [cx, cy] = point.split(",");
      body.push(`<circle class="c${j}" cx="${cx}" cy="${cy}" r="3.5"/>`);
    }
  }
  return page(title, bottom + 36, body);
}

/** Round numbers, from 0 to the first that is at least `max`. */
function ticksUpTo(max: number): number[] {
  const power = 10 ** Math.floor(Math.log10(max / 4));
  const step = power * [1, 2, 5, 10].find((it) => power * it * 5 >= max)!;
  const count = Math.ceil(max / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, i) => step * i);
}

/** 1,500,000 as 1.5M. */
function shorten(value: number): string {
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]] as const) {
    if (value >= size) return `${Number((value / size).toPrecision(3))}${unit}`;
  }
  return String(Number(value.toPrecision(2)));
}

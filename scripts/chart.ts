import type { MetricPoint } from '../runtime/metric-history.ts';

const [WIDTH, HEIGHT] = [720, 260];
/** Told apart also by those who see few colours (Okabe and Ito 2008). */
export const SHADES = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#6b6b00', '#7f7f7f'] as const;
/** More would lie on one another. */
const MOST_POINTS = 720;

/** Curves over the steps as SVG that needs nothing else; nothing where there is no point. */
export function plot(curves: readonly (readonly MetricPoint[])[], label: string): string {
  const points = curves.flat();
  if (points.length === 0) return '';
  const steps = Math.max(...points.map(({ step }) => step), 1);
  const [low, high] = [Math.min(...points.map(({ value }) => value)), Math.max(...points.map(({ value }) => value))];
  const x = (step: number) => short((step / steps) * WIDTH);
  const y = (value: number) => short(HEIGHT - ((value - low) / (high - low || 1)) * HEIGHT);
  const lines = curves
    .map((curve) => thinned(curve))
    .map(
      (curve, i) =>
        `<polyline fill="none" stroke="${SHADES[i]}" stroke-width="2" points="${curve.map(({ step, value }) => `${x(step)},${y(value)}`).join(' ')}"/>${curve
          .map(
            ({ step, value }) =>
              `<circle cx="${x(step)}" cy="${y(value)}" r="3" fill="${SHADES[i]}"><title>${i + 1}, step ${step}: ${short(value)}</title></circle>`,
          )
          .join('')}`,
    );
  return `<svg width="${WIDTH}" height="${HEIGHT + 20}" role="img" aria-label="${escapeHtml(label)} over the steps">
<line x1="0" y1="${HEIGHT}" x2="${WIDTH}" y2="${HEIGHT}" stroke="#999"/>${lines.join('')}
<text x="0" y="-8">${short(high)}</text><text x="0" y="${HEIGHT + 15}">${short(low)}</text><text x="${WIDTH}" y="${HEIGHT + 15}" text-anchor="end">step ${steps}</text></svg>`;
}

function short(value: number): string {
  return String(Number(value.toPrecision(4)));
}

/** Text as text, in an element or in a quoted attribute. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** Lowest and highest of each stretch, so that no peak is lost. */
function thinned(curve: readonly MetricPoint[]): readonly MetricPoint[] {
  if (curve.length <= MOST_POINTS) return curve;
  const stretch = Math.ceil((curve.length * 2) / MOST_POINTS);
  return Array.from({ length: Math.ceil(curve.length / stretch) }, (_, i) => {
    const part = curve.slice(i * stretch, (i + 1) * stretch).toSorted((a, b) => a.value - b.value);
    return [...new Set([part[0], part.at(-1)])].flatMap((point) => point ?? []).sort((a, b) => a.step - b.step);
  }).flat();
}
